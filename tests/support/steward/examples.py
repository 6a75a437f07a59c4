"""Messages of Steward and ctrl nodes for the tests: worked examples, and every layout in every encoding."""

from errorkernel.senders.steward.protocol import envelope
from errorkernel.senders.steward.protocol import message as steward_message
from errorkernel.senders.steward.protocol.envelope import Compression, Format
from errorkernel.senders.steward.protocol.layout import ATTRIBUTES, LAYOUTS, StewardMessage

SIGNATURE = bytes(range(64))
"""A dummy."""

CTRL_ERROR = bytes.fromhex(
    "981b6c6572726f7243656e7472616cf660182a5863546875204a616e2020322030333a30343a303520323032352c206e6f64653a"
    "2065646765372c206572726f723a206d6574686f64487474704765743a206d6574686f642074696d6564206f75743a205b687474"
    "703a2f2f3139322e302e322e312f5d0a686572726f724c6f67f65840000102030405060708090a0b0c0d0e0f1011121314151617"
    "18191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f60f6f4656564676537183c00"
    "f40a00000a00686572726f724c6f67696572726f722e6c6f67f6f6f4f6f6"
)
"""An error of ctrl, 27 elements, not yet compressed."""
CTRL_ERROR_MESSAGE = StewardMessage(
    to_node="errorCentral",
    id=42,
    data=b"Thu Jan  2 03:04:05 2025, node: edge7, error: methodHttpGet: method timed out: [http://192.0.2.1/]\n",
    method="errorLog",
    arg_signature=SIGNATURE,
    from_node="edge7",
    ack_timeout=60,
    retries=10,
    method_timeout=10,
    directory="errorLog",
    file_name="error.log",
)
CTRL_STOP = bytes.fromhex(
    "981b656564676537f66000f66d6f7050726f6365737353746f708367687474704765746565646765376a73756273637269626572"
    "5840000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031"
    "32333435363738393a3b3c3d3e3f6a66696c65417070656e6481676f703a37663361f46b6572726f726b65726e656c0500f40205"
    "020a0a6b6572726f726b65726e656c666f702e6c6f67f6f6f4f6f6"
)
"""An operator's stop to a ctrl node, not yet compressed."""
STEWARD_ERROR = bytes.fromhex(
    "fe01717f030101074d65737361676501ff800001170106546f4e6f6465010c000107546f4e6f64657301ff820001024944010400"
    "010444617461010a0001064d6574686f64010c00010a4d6574686f644172677301ff8400010c4172675369676e6174757265010a"
    "00010b5265706c794d6574686f64010c00010f5265706c794d6574686f644172677301ff8400010749735265706c790102000108"
    "46726f6d4e6f6465010c00010a41434b54696d656f75740104000109526574727957616974010400011149735375625075626c69"
    "736865644d7367010200010752657472696573010400010f5265706c7941434b54696d656f7574010400010c5265706c79526574"
    "72696573010400010d4d6574686f6454696d656f757401040001125265706c794d6574686f6454696d656f757401040001094469"
    "726563746f7279010c00010846696c654e616d65010c00010f50726576696f75734d65737361676501ff80000108536368656475"
    "6c6501ff8600000014ff81020101065b5d4e6f646501ff8200010c000016ff83020101085b5d737472696e6701ff8400010c0000"
    "13ff85020101055b5d696e7401ff860001040000ffdfff80010c6572726f7243656e7472616c0254015953756e204a616e202032"
    "2030333a30343a303520323032322c206e6f64653a2065646765372c206572726f723a206d6574686f6452455148747470476574"
    "3a20676f74203c31206e756d626572206d6574686f64417267730a010b5245514572726f724c6f67024000010203040506070809"
    "0a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d"
    "3e3f0405656467653701780314031402086572726f724c6f6701096572726f722e6c6f6700"
)
"""An error of Steward's last version, as it is on the wire by default."""
STEWARD_ERROR_MESSAGE = StewardMessage(
    to_node="errorCentral",
    id=42,
    data=b"Sun Jan  2 03:04:05 2022, node: edge7, error: methodREQHttpGet: got <1 number methodArgs\n",
    method="REQErrorLog",
    arg_signature=SIGNATURE,
    from_node="edge7",
    ack_timeout=60,
    retries=10,
    method_timeout=10,
    directory="errorLog",
    file_name="error.log",
)
CTRL_LIST_JSON = (
    b'{"toNode":"edge7","fromNode":"errorkernel","method":"opProcessList","methodArgs":[],"ACKTimeout":5,"retries":1,\n'
    b' "replyMethod":"fileAppend","replyMethodArgs":["op:1"],"replyACKTimeout":5,"replyRetries":2,"methodTimeout":10,\n'
    b' "replyMethodTimeout":10,"directory":"errorkernel","fileName":"op.log"}'
)

FULL = StewardMessage(
    to_node="ship2",
    to_nodes=("a", "b"),
    jetstream_to_node="js",
    id=-7,
    data="Grüße\n".encode(),
    method="REQCliCommand",
    method_args=("bash", "-c", "exit 3"),
    arg_signature=SIGNATURE,
    reply_method="REQToFileAppend",
    reply_method_args=("op:1",),
    is_reply=True,
    from_node="ww.central",
    ack_timeout=60,
    retry_wait=3,
    is_sub_published_msg=True,
    retries=10,
    reply_ack_timeout=5,
    reply_retries=2,
    method_timeout=-1,
    reply_method_timeout=10,
    directory="d",
    file_name="f.log",
    previous_message=StewardMessage(to_node="ship2", method="REQPing", from_node="ship1"),
    schedule=(5, 60),
    use_detected_shell=True,
    method_instructions=("x",),
    reply_method_instructions=("y", ""),
    relay_via_node="hub",
    relay_original_via_node="hub2",
    relay_from_node="ship9",
    relay_to_node="ship8",
    relay_original_method="REQPing",
    relay_reply_method="REQPong",
)
"""Something in every field."""


def within(message: StewardMessage, layout: str) -> StewardMessage:
    """The message with only the fields that the layout has."""
    fields = {ATTRIBUTES[name]: getattr(message, ATTRIBUTES[name]) for name in LAYOUTS[layout]}
    if message.previous_message:
        fields["previous_message"] = within(message.previous_message, layout)
    return StewardMessage(**fields)


def every_body(message: StewardMessage) -> list[tuple[Format, bytes]]:
    """In every layout and format, not compressed."""
    made = [
        (form, steward_message.encode(within(message, layout), form, layout))
        for layout in LAYOUTS
        for form in (Format.GOB, Format.CBOR)
    ]
    return [*made, (Format.JSON, steward_message.encode(message, Format.JSON))]


def every_encoding(message: StewardMessage) -> list[tuple[dict[str, str], bytes]]:
    """(headers, payload) in every layout, format and compression."""
    return [
        ({"serial": form.value, "cmp": compression.value}, envelope.pack(body, compression))
        for compression in Compression
        for form, body in every_body(message)
    ]
