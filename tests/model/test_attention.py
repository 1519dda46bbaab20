import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hare_ray.model import attention, windows
from hare_ray.model.attention import FLEX, MASK, PIECES, VARLEN, WINDOWS, Backend, attend, choose, offsets_for, spans
from tests.model.packed import ROWS, packed


def by_definition(q, k, v, segments):
    """Softmax over the keys of the same document that are not later, one query at a time, in float64."""
    rows, heads, tokens, width = q.shape
    out = torch.zeros_like(q, dtype=torch.float64)
    for row in range(rows):
        for at in range(tokens):
            begin = at
            while begin and segments[row, begin - 1] == segments[row, at]:
                begin -= 1
            for head in range(heads):
                own = head * k.shape[1] // heads
                keys, values = k[row, own, begin : at + 1].double(), v[row, own, begin : at + 1].double()
                out[row, head, at] = torch.softmax(keys @ q[row, head, at].double() / math.sqrt(width), 0) @ values
    return out


def heads(rows, tokens, dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    return (torch.randn(rows, n, tokens, 8, generator=generator).to(dtype).requires_grad_() for n in (4, 2, 2))


@pytest.mark.parametrize("name", [PIECES, MASK, FLEX])
def test_a_query_sees_its_own_document_up_to_itself(name):
    _, segments, _ = packed(ROWS, 40)
    q, k, v = (x.detach() for x in heads(4, 40))  # flex on CPU has no backward
    found = attend(q, k, v, spans(Backend(name, ""), segments))
    torch.testing.assert_close(found.double(), by_definition(q, k, v, segments), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_backends_give_the_same_output_and_gradients(dtype, tolerance):
    """Also over documents longer than a stretch of queries."""
    _, segments, _ = packed([[300, 30], [1, 200, 129], [128, 128]], 330)
    results = []
    for name in (PIECES, WINDOWS, MASK):
        q, k, v = heads(3, 330, dtype)
        out = attend(q, k, v, spans(Backend(name, ""), segments))
        assert out.dtype == dtype
        out.float().square().sum().backward()
        results.append((out, q.grad, k.grad, v.grad))
    for found in results[:2]:
        for one, other in zip(found, results[2], strict=True):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_masks_of_stretches_are_parts_of_a_few():
    attention._stretch_of.cache_clear()
    for begin, end in ((128, 129), (128, 256), (256, 300), (384, 512), (3968, 4096), (4096, 4100)):
        expected = torch.arange(end) <= torch.arange(begin, end)[:, None]
        assert torch.equal(attention._below_diagonal(begin, end), expected)
    assert attention._stretch_of.cache_info().currsize == 4  # for 256, 512, 4096, 8192


def test_only_what_a_backend_reads_is_made():
    _, segments, _ = packed(ROWS, 40)
    assert not spans(Backend(PIECES, ""), segments).windows
    assert spans(Backend(WINDOWS, ""), segments).windows


@pytest.mark.parametrize("name", [PIECES, MASK])
def test_nothing_but_padding_is_finite(name):
    segments = torch.full((2, 16), -1)
    q, k, v = heads(2, 16)
    out = attend(q, k, v, spans(Backend(name, ""), segments))
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(x.grad).all() for x in (q, k, v))


def test_a_segment_number_that_comes_again_is_another_document():
    segments = torch.tensor([[0, 0, 1, 0, 0]])
    once = torch.tensor([[0, 0, 1, 2, 2]])
    for name in (PIECES, MASK):
        backend = Backend(name, "")
        q, k, v = heads(1, 5)
        assert torch.equal(attend(q, k, v, spans(backend, segments)), attend(q, k, v, spans(backend, once)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 12), max_size=3), min_size=1, max_size=5))
def test_lengths_offsets_and_mask_tell_the_same_pieces(rows):
    tokens = 36
    _, segments, _ = packed(rows, tokens)
    lengths = spans(Backend(PIECES, ""), segments).lengths
    offsets = spans(Backend(VARLEN, ""), segments).offsets
    mask = spans(Backend(MASK, ""), segments).mask
    assert sum(lengths) == len(rows) * tokens
    assert offsets.diff().tolist()[: len(lengths)] == list(lengths)
    assert offsets.dtype == torch.int32
    assert offsets[len(lengths) :].tolist() == [len(rows) * tokens] * (len(offsets) - len(lengths))
    assert int(mask.sum()) == sum(length * (length + 1) // 2 for length in lengths)


@pytest.mark.parametrize("pieces", [1, 31, 63, 64, 127, 128, 1000])
def test_offsets_have_room_for_the_end_and_few_sizes(pieces):
    assert offsets_for(pieces) >= pieces + 1
    assert math.log2(offsets_for(pieces)).is_integer()


def test_the_choice_says_why():
    assert choose("cpu").name == (WINDOWS if windows.AVAILABLE else PIECES)
    assert choose("cpu", torch.float32).name == PIECES
    assert choose("cpu").reason
    assert choose("meta").name == MASK
    assert choose("cuda", torch.float32).name == MASK


def test_flex_sees_what_pieces_see_over_many_blocks():
    _, segments, _ = packed([[300, 30], [1, 200, 100], []], 330)
    q, k, v = (x.detach() for x in heads(3, 330))
    found = attend(q, k, v, spans(Backend(FLEX, ""), segments).to(torch.device("cpu")))
    torch.testing.assert_close(found, attend(q, k, v, spans(Backend(PIECES, ""), segments)), rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", [None, FLEX])
def test_kernels_equal_the_mask_on_a_gpu(backend):
    _, segments, _ = packed([[300, 30], [1, 200, 100], []], 330)
    results = []
    for one in (Backend(backend, "") if backend else choose("cuda"), Backend(MASK, "")):
        q, k, v = (x.detach().cuda().requires_grad_() for x in heads(3, 330, torch.bfloat16))
        out = attend(q, k, v, spans(one, segments).to(torch.device("cuda")))
        out.float().square().sum().backward()
        results.append((out, q.grad, k.grad, v.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=3e-2, atol=3e-2)
