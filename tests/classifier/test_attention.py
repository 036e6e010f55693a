"""Self-attention over atoms: written out, it says what torch's own says."""

import torch

from probe.classifier.network import Attention


def same(one, other):
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


class TestAttention:
    def test_written_out_it_is_torch_s_own(self):
        torch.manual_seed(3)
        attention = Attention(16, 4, batch_first=True).eval()
        atoms, sizes = torch.randn(3, 7, 16), torch.tensor([7, 1, 4])
        padding = torch.arange(7)[None] >= sizes[:, None]
        heard, weights = attention.among(atoms, padding)
        expected = attention(
            atoms, atoms, atoms, key_padding_mask=padding, average_attn_weights=False
        )
        same(heard[~padding], expected[0][~padding])
        by_query, by_torch = (found.transpose(1, 2)[~padding] for found in (weights, expected[1]))
        same(by_query, by_torch)
        assert weights.masked_select(padding[:, None, None].expand_as(weights)).eq(0).all()
