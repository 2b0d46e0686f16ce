"""Seconds an epoch of our training against a plain PyTorch training of the same network.

Three encoders, each with the slides' decoder: conv, edge_conv and set_transformer, on the bundled
eights with the third-axis loss. Ours is gconvae.fit with its progress bar. The plain version is
written out below with torch alone, as one would write it for a single study, with the same widths,
loss and batch size. An epoch is all training steps and a validation pass; both clocks stand still
while models are built and while fit does what it does once a run.

Run: uv run python benchmarks/speed_variants.py [--rounds 5] [--epochs 2] [--clouds 4857]
"""

import argparse
import contextlib
import copy
import os
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from timing import Row, begin, finish, parser, ratio
from torch import Tensor, nn

import gconvae
from gconvae.datasets import CloudDataset, SuperpixelMNIST

COMMAND = "uv run python benchmarks/speed_variants.py"
LIMIT = 1.5
SEED = 0
BATCH_SIZE = 100
EXTENT = 27.0  # of scaled features: x px, y px, 27 * I
LATENTS = 10
NEIGHBORS = 8

Sides = Mapping[str, Callable[[int], tuple[float, float]]]
"""Of ours and plain: from a number of epochs to seconds an epoch and the last validation loss."""


class PlainConv(nn.Sequential):
    """The slides' convolutions along the nodes, brightest first, and a dense layer."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, (3, 5), padding=(0, 1)),
            nn.ReLU(),
            nn.Conv2d(16, 32, (1, 5), padding=(0, 1)),
            nn.ReLU(),
            nn.Conv2d(32, 64, (1, 5), padding=(0, 1)),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 19, 1500),
            nn.ReLU(),
            nn.Linear(1500, 2 * LATENTS),
        )

    def forward(self, clouds: Tensor) -> Tensor:
        """Mean and log-variance side by side, (B, 2 * L), of scaled clouds (B, N, F)."""
        return super().forward(clouds.transpose(1, 2).unsqueeze(1))


class PlainEdgeConv(nn.Module):
    """Edge convolutions on the nearest neighbours in (x, y), mean and maximum over nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 64), nn.Linear(128, 64), nn.Linear(128, 128)])
        self.head = nn.Sequential(
            nn.Linear(2 * (64 + 64 + 128), 256), nn.ReLU(), nn.Linear(256, 2 * LATENTS)
        )

    def forward(self, clouds: Tensor) -> Tensor:
        """Mean and log-variance side by side, (B, 2 * L), of scaled clouds (B, N, F)."""
        positions = clouds[..., :2]
        # a node is its own nearest one, and hears itself in our version too
        distances = torch.cdist(positions, positions)
        neighbors = distances.topk(NEIGHBORS + 1, largest=False).indices  # (B, N, K)
        rows = torch.arange(len(clouds))[:, None, None]
        hidden, outputs = centred(clouds), []
        for layer in self.layers:
            others = hidden[rows, neighbors]  # (B, N, K, C)
            own = hidden.unsqueeze(2).expand_as(others)
            messages = torch.relu(layer(torch.cat([own, others - own], dim=-1)))  # (B, N, K, C')
            hidden = messages.amax(2)
            outputs.append(hidden)
        nodes = torch.cat(outputs, dim=-1)  # (B, N, sum of C')
        return self.head(torch.cat([nodes.mean(1), nodes.amax(1)], dim=-1))


class PlainAttention(nn.Module):
    """Attention with a residual, then a dense layer with one, each followed by a layer norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.dense = nn.Linear(width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, asking: Tensor, answering: Tensor) -> Tensor:
        """New features of the asking nodes, (B, N, C)."""
        heard, _ = self.attention(asking, answering, answering, need_weights=False)
        hidden = self.norms[0](asking + heard)
        return self.norms[1](hidden + torch.relu(self.dense(hidden)))


class PlainSetTransformer(nn.Module):
    """Two attention blocks among the nodes, then learned seeds that attend to all of them."""

    def __init__(self, width: int = 64, heads: int = 4, seeds: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(3, width)
        self.blocks = nn.ModuleList([PlainAttention(width, heads) for _ in range(2)])
        self.dense = nn.Linear(width, width)
        self.seeds = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, seeds, width)))
        self.pool = PlainAttention(width, heads)
        self.head = nn.Linear(seeds * width, 2 * LATENTS)

    def forward(self, clouds: Tensor) -> Tensor:
        """Mean and log-variance side by side, (B, 2 * L), of scaled clouds (B, N, F)."""
        hidden = self.embed(centred(clouds))
        for block in self.blocks:
            hidden = block(hidden, hidden)
        hidden = torch.relu(self.dense(hidden))
        return self.head(self.pool(self.seeds.expand(len(clouds), -1, -1), hidden).flatten(1))


class PlainDecoder(nn.Sequential):
    """The slides' decoder: dense layers, then transposed convolutions to 25 nodes."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(LATENTS, 1500),
            nn.ReLU(),
            nn.Linear(1500, 64 * 19),
            nn.ReLU(),
            nn.Unflatten(1, (64, 1, 19)),
            nn.ConvTranspose2d(64, 32, (1, 5), padding=(0, 1)),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, (1, 5), padding=(0, 1)),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, (3, 5), padding=(0, 1)),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Clouds in scaled units, (B, N, F)."""
        return EXTENT * super().forward(z).squeeze(1).transpose(1, 2)


ENCODERS: Mapping[str, Callable[[], nn.Module]] = {
    "conv": PlainConv,
    "edge_conv": PlainEdgeConv,
    "set_transformer": PlainSetTransformer,
}


class PlainVAE(nn.Module):
    """A plain encoder and the plain decoder."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.encoder = ENCODERS[name]()
        self.decoder = PlainDecoder()

    def forward(self, clouds: Tensor) -> Tensor:
        """Loss of each cloud, shape (B,): squared Chamfer distance plus KL divergence."""
        mean, log_var = self.encoder(clouds).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        squares = torch.cdist(clouds, self.decoder(z)) ** 2  # (B, N, M)
        chamfer = squares.min(2).values.sum(1) + squares.min(1).values.sum(1)
        return chamfer + 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def centred(clouds: Tensor) -> Tensor:
    """Scaled features to about [-1, 1]."""
    return clouds / (EXTENT / 2) - 1


def scaled(data: CloudDataset) -> Tensor:
    """Clouds in the units of the loss, (B, N, F)."""
    return data.points * torch.tensor([1.0, 1.0, EXTENT])


def plain_epoch(start: PlainVAE, train: Tensor, valid: Tensor, epochs: int) -> tuple[float, float]:
    """Seconds an epoch of the plain training, and its last validation loss."""
    network = copy.deepcopy(start)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    begun = time.perf_counter()
    for _ in range(epochs):
        network.train()
        for rows in torch.randperm(len(train)).split(BATCH_SIZE):
            adam.zero_grad()
            network(train[rows]).mean().backward()
            adam.step()
        network.eval()
        with torch.no_grad():
            losses = [network(clouds).sum().item() for clouds in valid.split(BATCH_SIZE)]
    return (time.perf_counter() - begun) / epochs, sum(losses) / len(valid)


def our_epoch(
    model: gconvae.VAE, train: CloudDataset, valid: CloudDataset, epochs: int
) -> tuple[float, float]:
    """Seconds an epoch of fit, and its last validation loss."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        run = gconvae.fit(
            model,
            train,
            valid,
            epochs=epochs,
            batch_size=BATCH_SIZE,
            patience=None,
            seed=SEED,
            neighbors="auto",
            accelerator="cpu",
        )
    return run.manifest["seconds"] / epochs, run.history["valid_loss"][-1]


def num_parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def both_sides(name: str, train: CloudDataset, valid: CloudDataset) -> Sides:
    """Our training and the plain one, as functions of the number of epochs."""
    ours = gconvae.models.create("convae", encoder=name, seed=SEED)
    torch.manual_seed(SEED)
    plain = PlainVAE(name)
    plain_train, plain_valid = scaled(train), scaled(valid)
    print(f"{name}: {num_parameters(ours):,} parameters, plain {num_parameters(plain):,}")
    return {
        "ours": lambda epochs: our_epoch(ours, train, valid, epochs),
        "plain": lambda epochs: plain_epoch(plain, plain_train, plain_valid, epochs),
    }


def row(name: str, sides: Sides, given: argparse.Namespace) -> Row:
    """One line of the table; prints the losses, which show that both sides learn the same."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    losses: dict[str, float] = {}
    for number in range(given.rounds):
        for side in sorted(sides, reverse=number % 2 == 1):
            duration, losses[side] = sides[side](given.epochs)
            seconds[side].append(duration)
    ours, plain = np.array(seconds["ours"]), np.array(seconds["plain"])
    print(
        f"{name}: validation loss after {given.epochs} epochs {losses['ours']:.1f}, "
        f"plain {losses['plain']:.1f}",
        flush=True,
    )
    median, spread = ratio(ours, plain)
    return Row(
        target=f"epoch of {name}",
        reference="plain PyTorch version",
        limit=f"<= {LIMIT:g}",
        measured=f"{median:.2f}",
        detail=f"{spread}; {np.median(ours):.3g} s, plain {np.median(plain):.3g} s",
        command=COMMAND,
    )


def main() -> None:
    """Times the variants one after another."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--epochs", type=int, default=2, help="of each training in a round")
    options.add_argument("--clouds", type=int, default=4857, help="trained on, of 4,857")
    given = options.parse_args()
    begin(given)
    eights = SuperpixelMNIST(digit=8, split="train")
    train, valid = gconvae.training.train_and_valid(eights, None, seed=SEED)
    num_valid = max(1, len(valid) * given.clouds // len(train))
    train, valid = train[: given.clouds], valid[:num_valid]
    print(f"{len(train):,} training and {len(valid):,} validation clouds, {given.rounds} rounds")
    variants = {name: both_sides(name, train, valid) for name in ENCODERS}
    # compiles and allocates, and all of it before any timing: how much freed memory malloc keeps
    # depends on the largest tensors so far, and page faults can cost the plain conv a third
    for sides in variants.values():
        for train_for in sides.values():
            train_for(1)
    finish([row(name, sides, given) for name, sides in variants.items()], given)


if __name__ == "__main__":
    main()
