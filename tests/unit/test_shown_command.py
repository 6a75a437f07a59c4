"""The command line that an event shows: no secret in it, wherever in an argument it is."""

import time

import pytest

from errorkernel.node.run.command_line import show

SECRET = "s3cr3t-Value99"

SHOWN = [
    (["curl", "-H", f"Authorization: Bearer {SECRET}", "x"], "curl -H 'Authorization: Bearer …' x"),
    (["curl", "-H", f"authorization: {SECRET}"], "curl -H 'authorization: …'"),
    (["curl", "-H", f"X-Api-Key: {SECRET}"], "curl -H 'X-Api-Key: …'"),
    (["curl", "-H", f"Cookie: a=b; id={SECRET}"], "curl -H 'Cookie: …'"),
    (["curl", "-u", f"me:{SECRET}", "https://a:80/b"], "curl -u me:… https://a:80/b"),
    (["curl", f"-ume:{SECRET}"], "curl -ume:…"),
    (["curl", "-sSu", f"me:{SECRET}"], "curl -sSu me:…"),
    (["curl", f"--user=me:{SECRET}"], "curl --user=me:…"),
    (["curl", f"https://a/b?x=1&token={SECRET}&y=2"], "curl 'https://a/b?x=1&token=…&y=2'"),
    (["curl", f"https://a/b?X-Amz-Signature={SECRET}"], "curl 'https://a/b?X-Amz-Signature=…'"),
    (["curl", "-d", f'{{"password": "a {SECRET}", "x": 1}}'], """curl -d '{"password": …, "x": 1}'"""),
    (["curl", f"https://hooks.slack.com/services/T0/B0/{SECRET}"], "curl https://hooks.slack.com/services/…"),
    (["sh", "-c", f"PGPASSWORD={SECRET} psql -h db"], "sh -c 'PGPASSWORD=… psql -h db'"),
    (["sh", "-ec", f'cd /a; export TOKEN="a {SECRET}" && run'], "sh -ec 'cd /a; export TOKEN=… && run'"),
    (["sh", "-c", f"curl -u 'me:{SECRET}' x"], """sh -c 'curl -u '"'"'me:…'"'"' x'"""),
    (["sh", "-c", f'curl -H "Authorization: Basic {SECRET}" x'], """sh -c 'curl -H "Authorization: Basic …" x'"""),
    (["sh", "-c", f"x --password {SECRET} --verbose"], "sh -c 'x --password … --verbose'"),
    (["sh", "-c", f"mysql -uroot -p{SECRET} db | gzip"], "sh -c 'mysql -uroot -p… db | gzip'"),
    (["sh", "-c", f"pg_dump postgres://me:{SECRET}@h/db | gzip"], "sh -c 'pg_dump postgres://me:…@h/db | gzip'"),
    (["x", "--password", SECRET], "x --password …"),
    (["x", f"--password=a {SECRET}"], "x --password=…"),
    (["x", f"-Ddb.password={SECRET}"], "x -Ddb.password=…"),
    (["x", "--client-secret", SECRET], "x --client-secret …"),
    (["x", f"DB_PASS={SECRET}"], "x DB_PASS=…"),
    (["x", f"Server=a;Pwd={SECRET};Database=c"], "x 'Server=a;Pwd=…;Database=c'"),
    (["psql", f"host=h password='{SECRET}' dbname=d"], "psql 'host=h password=… dbname=d'"),
    (["openssl", "-passin", f"pass:{SECRET}"], "openssl -passin …"),
    (["git", "clone", f"https://{SECRET}@example.org/a"], "git clone https://…@example.org/a"),
    (["git", "-c", f"http.extra=AUTHORIZATION: basic {SECRET}"], "git -c 'http.extra=AUTHORIZATION: basic …'"),
    (["mysql", f"-p{SECRET}", "db"], "mysql -p… db"),
    (["sudo", "sshpass", "-p", SECRET, "ssh", "h"], "sudo sshpass -p … ssh h"),
    (["redis-cli", "-a", SECRET], "redis-cli -a …"),
    (["smbclient", "-U", f"me%{SECRET}"], "smbclient -U me%…"),
    (["x", "key=AKIAIOSFODNN7EXAMPLE"], "x key=AKIA…"),
    (["aws", f"AWS_SECRET_ACCESS_KEY={SECRET}"], "aws AWS_SECRET_ACCESS_KEY=…"),
    (["x", "ghp_" + "a1" * 18], "x ghp_…"),
    (["x", "a=eyJhbGciOi.eyJzdWIi.abcdefghijkl"], "x a=eyJ…"),
    (["x", "SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4"], "x SU…"),
    (["x", f"-----BEGIN PRIVATE KEY-----\n{SECRET}"], "x '-----BEGIN PRIVATE KEY-----…'"),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "shown"), SHOWN)
def test_a_secret_is_hidden_wherever_it_is(argv: list[str], shown: str) -> None:
    assert show(argv) == shown
    assert SECRET not in shown


PLAIN = [
    "docker run -p 8080:80 -v /a:/b image",
    "mkdir -p a",
    "ssh me@host uptime",
    "cp https://a.example/x:y b",
    "pulled a/b@sha256:abcdef",
    "java -cp a:b Main --tokenizer bert --max-tokens 512 --author me --passive",
    "backup --all --since 2026-01-01T10:00:00 --token --verbose",
    "rsync -a compass.txt b:c",
    "curl -u me https://a:8080/b",
]


@pytest.mark.parametrize("line", PLAIN)
def test_what_is_no_secret_is_shown(line: str) -> None:
    assert show(line.split(" ")) == line


def test_a_cut_argument_shows_nothing_of_an_unfinished_secret() -> None:
    shown = show(["sh", "-c", f'x --password="{"b " * 5000}{SECRET}" y'])
    assert shown == "sh -c 'x --password=…'"


@pytest.mark.parametrize("filler", ["password", "a-", "https:", "mysql ", "-u ", "eyJ.", "a=", '"', "token=\\"])
def test_long_arguments_cost_little(filler: str) -> None:
    began = time.thread_time()
    show(["sh", "-c", filler * 20_000])
    assert time.thread_time() - began < 0.5
