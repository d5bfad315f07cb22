"""An independent PyTorch implementation of guided-diffusion's U-Net, written from its description.

It exists to check the Swift network (Sources/UNet) against something that shares no code with it: same flags, same tensor names,
plus Weir's own: `aug_embed`, the embedding of the conditioning-augmentation level s of a super-resolution stage, and `middle_attention`.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn


def timestep_embedding(t, dim):
    half = dim // 2
    freqs = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
    args = t.float()[:, None] * freqs[None]
    emb = torch.cat([torch.cos(args), torch.sin(args)], dim=-1)
    return F.pad(emb, (0, 1)) if dim % 2 else emb


class GroupNorm(nn.GroupNorm):
    """32 groups, computed in float32 whatever the input's type."""

    def __init__(self, channels):
        super().__init__(32, channels)

    def forward(self, x):
        return super().forward(x.float()).type(x.dtype)


def zero(module):
    for p in module.parameters():
        nn.init.zeros_(p)
    return module


class Downsample(nn.Module):
    def __init__(self, channels, use_conv):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if use_conv else nn.AvgPool2d(2)

    def forward(self, x, emb=None):
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, channels, use_conv):
        super().__init__()
        if use_conv:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, emb=None):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.conv(x) if hasattr(self, "conv") else x


class Unchanged(nn.Module):
    def forward(self, x, emb=None):
        return x


class ResBlock(nn.Module):
    def __init__(self, c_in, c_out, emb_dim, dropout, scale_shift, up=False, down=False):
        super().__init__()
        self.scale_shift = scale_shift
        self.in_layers = nn.Sequential(GroupNorm(c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1))
        self.resample = Upsample(c_in, False) if up else Downsample(c_in, False) if down else nn.Identity()
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_dim, 2 * c_out if scale_shift else c_out))
        self.out_layers = nn.Sequential(GroupNorm(c_out), nn.SiLU(), nn.Dropout(dropout), zero(nn.Conv2d(c_out, c_out, 3, padding=1)))
        self.skip_connection = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x, emb):
        h = self.in_layers[2](self.resample(self.in_layers[1](self.in_layers[0](x))))
        x = self.resample(x)
        e = self.emb_layers(emb).type(h.dtype)[..., None, None]
        if self.scale_shift:
            scale, shift = e.chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
            h = self.out_layers[1:](h)
        else:
            h = self.out_layers(h + e)
        return self.skip_connection(x) + h


class Attention(nn.Module):
    def __init__(self, channels, heads, new_order):
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm = GroupNorm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zero(nn.Conv1d(channels, channels, 1))

    def forward(self, x, emb=None):
        n, c, hh, ww = x.shape
        flat = x.reshape(n, c, -1)
        qkv = self.qkv(self.norm(flat))
        d = c // self.heads
        if self.new_order:
            q, k, v = (p.reshape(n, self.heads, d, -1) for p in qkv.chunk(3, dim=1))
        else:
            q, k, v = qkv.reshape(n, self.heads, 3 * d, -1).split(d, dim=2)
        s = d ** -0.25
        w = torch.softmax(torch.einsum("nhcl,nhcm->nhlm", q * s, k * s).float(), dim=-1).type(v.dtype)
        out = torch.einsum("nhlm,nhcm->nhcl", w, v).reshape(n, c, -1)
        return (flat + self.proj_out(out)).reshape(n, c, hh, ww)


class Block(nn.Sequential):
    def forward(self, x, emb):
        for m in self:
            x = m(x) if isinstance(m, nn.Conv2d) else m(x, emb)
        return x


class UNet(nn.Module):
    """Flags are guided-diffusion's. `aug_levels` adds the embedding of s (names aug_embed.0, aug_embed.2)."""

    def __init__(self, image_size, in_channels=3, model_channels=32, out_channels=3, num_res_blocks=2, channel_mult=(1, 2, 3, 4),
                 attention_resolutions=(8,), num_heads=1, num_head_channels=-1, num_classes=None, dropout=0.0, use_scale_shift_norm=True,
                 resblock_updown=True, use_new_attention_order=False, conv_resample=True, super_resolution=False, aug_levels=False,
                 middle_attention=True):
        super().__init__()
        self.super_resolution = super_resolution
        self.mc = mc = model_channels
        emb = 4 * mc
        if super_resolution:
            in_channels *= 2
        factors = {image_size // r for r in attention_resolutions}
        res = lambda a, b, **k: ResBlock(a, b, emb, dropout, use_scale_shift_norm, **k)
        att = lambda c: Attention(c, num_heads if num_head_channels == -1 else c // num_head_channels, use_new_attention_order)
        self.time_embed = nn.Sequential(nn.Linear(mc, emb), nn.SiLU(), nn.Linear(emb, emb))
        if num_classes is not None:
            self.label_emb = nn.Embedding(num_classes, emb)
        if aug_levels:
            self.aug_embed = nn.Sequential(nn.Linear(mc, emb), nn.SiLU(), nn.Linear(emb, emb))
        ch = int(channel_mult[0] * mc)
        self.input_blocks = nn.ModuleList([Block(nn.Conv2d(in_channels, ch, 3, padding=1))])
        skips, ds = [ch], 1
        for level, mult in enumerate(channel_mult):
            for _ in range(num_res_blocks):
                layers = [res(ch, int(mult * mc))]
                ch = int(mult * mc)
                if ds in factors:
                    layers.append(att(ch))
                self.input_blocks.append(Block(*layers))
                skips.append(ch)
            if level != len(channel_mult) - 1:
                self.input_blocks.append(Block(res(ch, ch, down=True) if resblock_updown else Downsample(ch, conv_resample)))
                skips.append(ch)
                ds *= 2
        self.middle_block = Block(res(ch, ch), att(ch) if middle_attention else Unchanged(), res(ch, ch))
        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(channel_mult))):
            for i in range(num_res_blocks + 1):
                layers = [res(ch + skips.pop(), int(mult * mc))]
                ch = int(mult * mc)
                if ds in factors:
                    layers.append(att(ch))
                if level and i == num_res_blocks:
                    layers.append(res(ch, ch, up=True) if resblock_updown else Upsample(ch, conv_resample))
                    ds //= 2
                self.output_blocks.append(Block(*layers))
        self.out = nn.Sequential(GroupNorm(ch), nn.SiLU(), zero(nn.Conv2d(ch, out_channels, 3, padding=1)))

    def forward(self, x, t, y=None, low_res=None, s=None):
        emb = self.time_embed(timestep_embedding(t, self.mc))
        if y is not None:
            emb = emb + self.label_emb(y)
        if s is not None:
            emb = emb + self.aug_embed(timestep_embedding(s, self.mc))
        if self.super_resolution:
            x = torch.cat([x, F.interpolate(low_res, x.shape[-2:], mode="bilinear", align_corners=False)], dim=1)
        h, hs = x, []
        for block in self.input_blocks:
            h = block(h, emb)
            hs.append(h)
        h = self.middle_block(h, emb)
        for block in self.output_blocks:
            h = block(torch.cat([h, hs.pop()], dim=1), emb)
        return self.out(h)
