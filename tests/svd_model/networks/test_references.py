"""Further tokens in a UNet's cross-attention: against one token everywhere, and against attention itself."""

import pytest
import torch

from stillmotion.svd_model.networks.attention import MultiHeadAttention
from stillmotion.svd_model.networks.operations import CastingOperations, scaled_dot_product_attention
from stillmotion.svd_model.networks.pieces import WHOLE, Pieces
from stillmotion.svd_model.networks.references import References
from stillmotion.svd_model.networks.unet import VideoUNet
from support import tiny

FRAMES, SIZE = 3, (8, 16)
PARAMS = tiny.GOLDEN.unet


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    unet = VideoUNet(PARAMS).eval()
    for weight in unet.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    return unet


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CONTEXT, OTHER = draw(1, 1, PARAMS.context_dim), draw(1, 1, PARAMS.context_dim, seed=2)
X = draw(FRAMES, PARAMS.in_channels, *SIZE, seed=3)
VECTOR = draw(1, PARAMS.vector_dim, seed=4).expand(FRAMES, -1)


def predicted(unet, context, references=None, pieces=WHOLE):
    rows = context.expand(FRAMES, -1, -1)
    if references is not None:
        references = References(*(each.expand(FRAMES, *each.shape[1:]) for each in references))
    with torch.no_grad():
        constants = unet.prepare(rows, VECTOR, FRAMES, references=references)
        return unet.predict(X, unet.shifts(torch.zeros(FRAMES), constants), constants, pieces=pieces)


def off(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def shares(*values):
    return torch.tensor(values).view(1, -1, 1, 1).expand(1, -1, *SIZE)


def test_a_share_everywhere_is_the_weighted_sum_of_the_tokens(unet):
    change = OTHER - CONTEXT
    plain, other = predicted(unet, CONTEXT), predicted(unet, OTHER)
    assert off(other, plain) > 0.01  # a hundred times what float32 may round
    assert off(predicted(unet, CONTEXT, References(change, shares(1.0))), other) < 1e-4
    assert off(predicted(unet, CONTEXT, References(change, shares(0.0))), plain) < 1e-4
    half = predicted(unet, CONTEXT + 0.3 * change)
    assert off(predicted(unet, CONTEXT, References(change, shares(0.3))), half) < 1e-4
    both = References(torch.cat([change, -change], dim=1), shares(0.5, 0.2))
    assert off(predicted(unet, CONTEXT, both), half) < 1e-4


def test_pieces_give_the_whole_passs_result(unet):
    mask = (torch.arange(SIZE[1]) < 8).float().expand(1, 1, *SIZE)
    references = References(OTHER - CONTEXT, mask)
    whole = predicted(unet, CONTEXT, references)
    assert off(predicted(unet, CONTEXT, references, Pieces(2**13)), whole) < 1e-4


def test_a_token_changes_its_own_side_first():
    """In a layer's output places without a share are the context's, and all others the other token's."""
    torch.manual_seed(0)
    layer = MultiHeadAttention(16, 8, 2, scaled_dot_product_attention, CastingOperations)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight)
    context, other = draw(2, 1, 8), draw(2, 1, 8, seed=5)
    share = (torch.arange(6) < 3).float().view(1, 6, 1).expand(2, -1, -1)
    with torch.no_grad():
        placed = layer.prepare(context, References(other - context, share)).of_rows()
        attended = [
            layer.to_context(draw(2, 6, 16), (layer.to_k(token), layer.to_v(token)))
            for token in (other, context)
        ]
    expected = torch.cat([attended[0][:, :3], attended[1][:, 3:]], dim=1)
    assert torch.allclose(placed, expected, atol=1e-4)


def test_each_level_has_the_mean_of_its_places():
    mask = draw(1, 1, 8, 16)
    pooled = References(OTHER, mask).at_level(2).shares
    assert pooled.shape == (1, 1, 2, 4)
    assert torch.allclose(pooled[0, 0, 1, 3], mask[0, 0, 4:, 12:].mean(), atol=1e-6)
