import ipaddress
import re
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hare_ray.corpus.pii import KINDS, Personal, personal
from hare_ray.corpus.pii_numbers import IBAN_LENGTHS
from hare_ray.corpus.pii_scan import find

QUICK = settings(max_examples=150, deadline=None)
KEY36 = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
PEM = "-----BEGIN {0}PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nqhkiG9w0B+/=\n-----END {0}PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


def hits(text):
    """Numbers by kind, without those that are 0."""
    found = personal(pa.array([text], pa.large_string()))
    return {kind: int(column[0]) for kind, column in zip(KINDS, found, strict=True) if column[0]}


def spans(text):
    found = find(pa.array([text], pa.large_string()))
    return [text.encode()[start:end].decode() for start, end in zip(found.starts, found.ends, strict=True)]


def expected(kind, number):
    return {kind: number} if number else {}


@pytest.mark.parametrize(
    ("text", "emails"),
    [
        ("ann.lee+news@mail.harbour.example", 1),
        ("<bob@boats.example>, carol@boats.example.", 2),
        ("@handle and a @ b and x@localhost", 0),
        ("price 3@4.50 each", 0),
        ("mail me@example.com, x@example.org or y@EXAMPLE.NET", 0),
        ("y@mail.example.com and z@example.com.example", 2),
        ("icon@2x.png, sprite@3x.min.JS, lodash@4.17.21", 0),
        ("a@b.c-d.example-shop x", 1),
        ("a@b..example and a@-b.example and ...@b.example", 0),
        ("a" * 65 + "@b.example", 0),
        ("\u00e9a@b.example\u8c22", 1),
        ("a@b.example_", 0),
    ],
)
def test_emails(text, emails):
    assert hits(text) == expected("email", emails)


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("(415) 555-2671", 1),
        ("415-555-2671, 415.555.2671 and 415 555-2671", 3),
        ("+44 20 7946 0958", 1),
        ("+44 (0)20 7946 0958, +44(20)79460958", 2),
        ("+33\u00a01\u00a023\u00a045\u00a067\u00a089", 1),
        ("+49 (0)30 901820 or +4930901820", 2),
        ("+1 415 555 2671 2024 and +14155552671", 2),
        ("+1 015 555 2671 and +1.23456789", 0),
        ("+10 000 000 and +5 and +12 345", 0),
        ("in 1999-2000 it cost 1,234,567 dollars", 0),
        ("ISBN 978-3-16-148410-0, 978-601-7026-17-2", 0),
        ("2024-01-15 10:30:00", 0),
        ("3.14159265358979", 0),
        ("115-555-2671, 415-155-2671, 415-555-26711, x415-555-2671", 0),
    ],
)
def test_phones(text, phones):
    assert hits(text) == expected("phone", phones)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("8.8.8.8 and 93.184.216.34", 2),
        ("127.0.0.1 10.1.2.3 192.168.0.1 172.16.0.9 169.254.1.1 224.0.0.1 255.255.255.255 0.0.0.0", 0),
        ("172.15.0.9 172.32.0.9 192.169.0.1", 3),
        ("256.1.1.1 and 1.2.3 and 1.2.3.999 and 01.2.3.4", 0),
        ("1.3.6.1.4.1.311 and version 3.0.0.1", 0),
        ("2606:4700:4700::1111, [2a00:1450:4001:81b::200e]:443, 2001:470:0:76:0:0:0:2.", 3),
        ("2001:db8::1:1 fe80::1:2 ::1 fd00:1:2:3:4:5:6:7 2001:0:1:2:3:4:5:6", 0),
        ("2606:4700:: 2020:10:30 2606:4700:4700::1111::2 2606:47001::1:1 x2606:4700:4700::1", 0),
    ],
)
def test_public_addresses(text, addresses):
    assert hits(text) == expected("address", addresses)


@QUICK
@given(st.ip_addresses(v=4) | st.ip_addresses(v=6, network="2000::/3"))
def test_public_is_what_the_registry_says(address):
    special = any(address in ipaddress.ip_network(net) for net in ("192.0.0.0/24", "2001::/23", "3fff::/20") if
                  ipaddress.ip_network(net).version == address.version)  # fmt: skip
    public = address.is_global and not address.is_multicast and not special
    written = address.exploded if address.version == 6 else str(address)
    assert hits(f"at {written}, at") == expected("address", int(public))


def luhn(digits):
    odd, even = digits[-1::-2], digits[-2::-2]
    return (sum(map(int, odd)) + sum(sum(divmod(2 * int(digit), 10)) for digit in even)) % 10 == 0


@QUICK
@given(st.sampled_from(["4", "51", "2221", "6011", "3528", "62"]), st.text("0123456789", min_size=16, max_size=16))
def test_cards_are_what_luhn_says(prefix, digits):
    number = (prefix + digits)[:16]
    grouped = " ".join(number[at : at + 4] for at in range(0, 16, 4))
    for written in (number, grouped, grouped.replace(" ", "-")):
        assert hits(f"card {written}.") == expected("card", int(luhn(number)))


@pytest.mark.parametrize(
    ("text", "cards"),
    [
        ("378282246310005, 3782 822463 10005, 30569309025904, 3056-930902-5904", 4),
        ("4222222222222 and 4222 222 222 222", 2),
        ("4111 1111-1111 1111, 41 11 11 11 11 11 11 11, 4111111111111112", 0),
        ("12 4111 1111 1111 1111, 0.4111111111111111, 4111 1111 1111 1111 5, x4111111111111111", 0),
        ("EAN 4006381333931 is a pen, 9111111111111111 has no issuer", 0),
    ],
)
def test_cards(text, cards):
    assert hits(text) == expected("card", cards)


def iban_of(country, account):
    number = "".join(str(int(char, 36)) for char in account + country + "00")
    return f"{country}{98 - int(number) % 97:02d}{account}"


@QUICK
@given(st.sampled_from(IBAN_LENGTHS.split()), st.data())
def test_ibans_are_what_the_remainder_says(entry, data):
    length = int(entry[2:]) - 4
    account = data.draw(st.text("0123456789ABCXYZ", min_size=length, max_size=length))
    iban = iban_of(entry[:2], account)
    grouped = " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))
    wrong = iban[:2] + f"{(int(iban[2:4]) + 1) % 100:02d}" + iban[4:]
    assert spans(f"({iban})") == [iban]
    assert spans(f"IBAN: {grouped}.") == [grouped]
    assert "iban" not in hits(wrong) and "iban" not in hits(iban.lower()) and "iban" not in hits(iban + "7")


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "AIza" + KEY36[:35],
        "ghp_" + KEY36,
        "github_pat_" + KEY36 + "_" + KEY36,
        "glpat-" + KEY36[:20],
        "xoxb-" + "123456789012-" * 2 + KEY36[:24],
        "sk_live_" + KEY36[:24],
        "sk-proj-" + KEY36 + "_" + KEY36,
        "hf_" + KEY36[:34],
        "npm_" + KEY36,
        JWT,
        PEM.format(""),
        PEM.format("RSA "),
        PEM.format("OPENSSH "),
    ],
)
def test_secrets(secret):
    assert spans(f"key = '{secret}', and more") == [secret]
    assert hits(secret) == {"secret": 1}
    assert hits("x" + secret) == ({} if not secret.startswith("-") else {"secret": 1})


@pytest.mark.parametrize(
    "text",
    [
        "AKIA and AKIAIOSFODNN7EXAMPL and AKIAIOSFODNNXEXAMPLE" + "Z",
        "class=sk-loading-indicator-with-a-very-long-name-2",
        "ghp_short1 hf_transformers_cache_dir_2024_v2_for_all_users",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY----- is how it starts",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0",
        "I think that I, JK, said: -- no - I mean _so_ -",
    ],
)
def test_what_only_looks_like_a_secret(text):
    assert hits(text) == {}


def test_hits_lie_where_they_say_and_never_overlap():
    text = "\u00e4 a@b.example, 415-555-2671@c.example 8.8.8.8 ghp_" + KEY36 + ", 4111111111111111"
    found = find(pa.array([None, text, "", text], pa.large_string()))
    assert found.documents.tolist() == [1] * 5 + [3] * 5
    assert spans(text) == ["a@b.example", "415-555-2671", "8.8.8.8", "ghp_" + KEY36, "4111111111111111"]
    assert (found.starts[1:5] >= found.ends[:4]).all()


def test_nulls_chunks_slices_and_order():
    texts = [None, "a@b.example", "", "8.8.8.8", "none"]
    found = personal(pa.chunked_array([pa.array(texts[:2], pa.large_string()), pa.array(texts[2:], pa.large_string())]))
    assert found.emails.tolist() == [0, 1, 0, 0, 0]
    assert found.addresses.tolist() == [0, 0, 0, 1, 0]
    assert personal(pa.array(texts, pa.large_string())[3:]).addresses.tolist() == [1, 0]
    assert personal(pa.array([], pa.large_string())) == Personal(*[pytest.approx(np.zeros(0))] * len(KINDS))


def test_room_grows_with_the_hits():
    text = "a@b.example " * 5000
    assert hits(text) == {"email": 5000}


@QUICK
@given(st.lists(st.text(alphabet=st.sampled_from("1249 -.+()@:_/aAbIJeyMsk\u00e9"), max_size=60), max_size=5))
def test_hits_do_not_depend_on_neighbouring_documents(texts):
    together = find(pa.array(texts, pa.large_string()))
    apart = [find(pa.array([text], pa.large_string())) for text in texts]
    assert together.starts.tolist() == [start for found in apart for start in found.starts.tolist()]
    assert together.ends.tolist() == [end for found in apart for end in found.ends.tolist()]


PIECES = ("eyJ", "eyJaaaaaaaaaa", "aaaaaaaaaa", "x", "-", "_", ".", ".", ".", " ")
WEB_TOKEN = re.compile(r"\beyJ[\w-]{7,}\.eyJ[\w-]{7,}\.[\w-]{10,}")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
@example(f"-eyJ-{JWT} eyJaaaaaaaaaa.eyJbbbbbbbbbb-{JWT}, eyJaaaaaaaaaa.{JWT} eyJaaaaaaaaaa.eyJbbbbbbbbbb")
def test_web_tokens_against_an_expression(text):
    assert spans(text) == WEB_TOKEN.findall(text)


REPEATED = (
    "1", "2 ", "2.", "2001:", "+1", "+", "(", "(415) ", "(415) 555-2671", "@", "a@", "@a.", "-", "--", "_", "I", "AKIA",
    "J", "-eyJ", "-eyJhbGciOiJI", "eyJaaaaaaaaaa.", "-eyJaaaaaaaaaa.eyJaaaaaaaaaa", "sk-", "-sk_live_", "GB1", "GB11 ",
    "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY----- -----END ",
)  # fmt: skip


@pytest.mark.parametrize("anchor", REPEATED)
def test_a_megabyte_of_any_anchor_takes_no_time(anchor):
    personal(pa.array(["warm"], pa.large_string()))
    hostile = anchor * (1_000_000 // len(anchor)) + "a" * 100_000 + "1" * 100_000
    start = time.perf_counter()
    personal(pa.array([hostile], pa.large_string()))
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize(
    "hostile",
    ["a" * 500_000 + "@", "a@" + "b." * 250_000, "+1" + "2 34" * 125_000, "1." * 250_000, "4 " * 250_000, "@" * 500_000,
     "-----BEGIN PRIVATE KEY-----" * 20_000, "eyJaaaaaaaaaa." * 40_000, "AKIA" * 125_000, "2001:" * 100_000],
)  # fmt: skip
def test_time_is_linear_in_hostile_text(hostile):
    personal(pa.array(["warm"], pa.large_string()))
    start = time.perf_counter()
    personal(pa.array([hostile], pa.large_string()))
    assert time.perf_counter() - start < 1
