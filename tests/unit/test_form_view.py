"""The fields of a form become an operation's request by their names."""

import msgspec
import pytest
from django.http import QueryDict

from errorkernel.platform.parameters import BadParameter
from errorkernel.web.operations.form_view import read_form


class Request(msgspec.Struct):
    text: str
    count: int = 1
    is_shared: bool = False


def test_a_form_has_the_fields_of_the_request() -> None:
    assert read_form(Request, QueryDict("text=a&count=5&is_shared=on&other=x")) == Request("a", 5, True)


def test_an_empty_field_is_as_one_that_is_not_there() -> None:
    assert read_form(Request, QueryDict("text=&count=")) == Request("")


def test_a_field_that_cannot_be_is_named_in_our_words() -> None:
    with pytest.raises(BadParameter, match=r"^“count” cannot be “many”\.$"):
        read_form(Request, QueryDict("text=a&count=many"))


def test_an_operation_without_a_request_reads_nothing() -> None:
    assert read_form(None, QueryDict("text=a")) is None
