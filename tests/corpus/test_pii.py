import time

import pyarrow as pa
import pytest

from hare_ray.corpus.pii import personal


def hits(text):
    found = personal(pa.array([text], pa.large_string()))
    return tuple(int(column[0]) for column in found)


@pytest.mark.parametrize(
    ("text", "emails"),
    [
        ("ann.lee+news@mail.harbour.example", 1),
        ("<bob@boats.example>, carol@boats.example.", 2),
        ("@handle and a @ b and x@localhost", 0),
        ("price 3@4.50 each", 0),
    ],
)
def test_emails(text, emails):
    assert hits(text) == (emails, 0, 0)


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("(415) 555-2671", 1),
        ("415-555-2671, 415.555.2671 and 415 555-2671", 3),
        ("+44 20 7946 0958", 1),
        ("+49 (0)30 901820 or +4930901820", 2),
        ("in 1999-2000 it cost 1,234,567 dollars", 0),
        ("ISBN 978-3-16-148410-0", 0),
        ("2024-01-15 10:30:00", 0),
        ("3.14159265358979", 0),
    ],
)
def test_phones(text, phones):
    assert hits(text) == (0, phones, 0)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("8.8.8.8 and 93.184.216.34", 2),
        ("127.0.0.1 10.1.2.3 192.168.0.1 172.16.0.9 169.254.1.1 224.0.0.1 255.255.255.255 0.0.0.0", 0),
        ("172.15.0.9 172.32.0.9 192.169.0.1", 3),
        ("256.1.1.1 and 1.2.3 and 1.2.3.999", 0),
    ],
)
def test_public_addresses(text, addresses):
    assert hits(text) == (0, 0, addresses)


def test_nulls_chunks_and_order():
    texts = [None, "a@b.example", "", "8.8.8.8", "none"]
    found = personal(pa.chunked_array([pa.array(texts[:2], pa.large_string()), pa.array(texts[2:], pa.large_string())]))
    assert found.emails.tolist() == [0, 1, 0, 0, 0]
    assert found.addresses.tolist() == [0, 0, 0, 1, 0]
    assert len(personal(pa.array([], pa.large_string())).emails) == 0


def test_time_is_linear_in_hostile_text():
    hostile = ["a" * 200_000 + "@", "a@" + "b." * 100_000, "+1" + "2 34" * 50_000, "1." * 100_000]
    start = time.perf_counter()
    personal(pa.array(hostile, pa.large_string()))
    assert time.perf_counter() - start < 2
