"""The fast forms give what the plain forms give, bit for bit."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from xmodal import kernels
from xmodal.kernels import Dropout, compiled_count
from xmodal.metrics import compare, ranks


@pytest.mark.parametrize("tied", [False, True])
def test_compiled_and_plain_counting_find_the_ranks_that_are_defined(tied, monkeypatch):
    """Of some clips more than one chunk, so that there are full blocks, partial ones, and rows."""
    pytest.importorskip("numba")
    query = normalize(torch.randn(1300, 250, generator=torch.Generator().manual_seed(0)), dim=1)
    gallery = normalize(query + 0.2 * torch.randn(1300, 250), dim=1)
    if tied:
        gallery[::3], query[650:] = gallery[0], query[:650].clone()
    similarity = query @ gallery.T
    own = similarity.diagonal()
    expected = compare(similarity, own), compare(similarity.T, own)
    for chunk in (1299, 1024, 100):
        compiled = ranks(query, gallery, chunk)
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "compiled_count", lambda: None)
            plain = ranks(query, gallery, chunk)
        for found in (compiled, plain):
            for one, other in zip(found, expected, strict=True):
                assert one.better.equal(other.better) and one.tied.equal(other.tied)
    assert (expected[0].tied.max() > 1) == tied and expected[0].better.max() > 10


@pytest.mark.parametrize("installed", [False, True])
def test_ranks_are_counted_without_numba_or_room_for_machine_code(installed, monkeypatch):
    def full(*_, **__):
        raise OSError("no space left on device")

    numba = SimpleNamespace(njit=full) if installed else None  # None: an import of it fails
    monkeypatch.setitem(sys.modules, "numba", numba)
    compiled_count.cache_clear()
    assert compiled_count() is None
    compiled_count.cache_clear()


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_has_the_masks_of_pytorch(p: float, dtype: torch.dtype):
    """Values, gradients and the random state afterwards are bit for bit those of `nn.Dropout`."""
    values, found = torch.randn(300, 77, dtype=dtype), []
    for dropout in (torch.nn.Dropout(p), Dropout(p)):
        given = values.clone().requires_grad_()
        torch.manual_seed(5)
        out = dropout(given)
        state = torch.get_rng_state()
        out.square().sum().backward()
        found.append((out, given.grad, state))
        assert dropout.eval()(given) is given
    assert all(theirs.equal(ours) for theirs, ours in zip(*found, strict=True))
    assert 0.5 * p < (out == 0).float().mean() < 1.5 * p
