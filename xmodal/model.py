"""The two branches and the shared classifier (paper, section 2 and figure 1)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmodal.config import InputError, ModelConfig
from xmodal.kernels import Dropout


class Embeddings(NamedTuple):
    """The two embeddings of a batch, float32 (clips, embedding_dim), of length 1 each.

    Logits, float32 (clips, classes), are there when the classifier was asked to run; scale and bias
    of the similarities, scalars, when the network learns them.
    """

    visual: Tensor
    audio: Tensor
    visual_logits: Tensor | None = None
    audio_logits: Tensor | None = None
    scale: Tensor | None = None
    bias: Tensor | None = None

    def collapse(self) -> str:
        """Say of which modality all embeddings are one point, to 0.001; nothing if of neither."""
        sides = {"visual": self.visual, "audio": self.audio}
        names = [
            name for name, x in sides.items() if len(x) > 1 and (x - x[0]).norm(dim=1).max() < 1e-3
        ]
        said = f"all {' and all '.join(names)} embeddings are one point: the space has collapsed"
        return said if names else ""


class Branch(nn.Sequential):
    """Fully connected layers with ReLUs; the last is linear, as the text names no activation."""

    def __init__(self, features: int, hidden: Sequence[int], config: ModelConfig) -> None:
        activation = {"relu": nn.ReLU, "gelu": nn.GELU}[config.activation]
        layers: list[nn.Module] = [Dropout(config.dropout_input)] * bool(config.dropout_input)
        for inputs, outputs in zip([features, *hidden], hidden, strict=False):
            layers += [nn.Linear(inputs, outputs), activation()]
            layers += [Dropout(config.dropout)] if config.dropout else []
        layers.append(nn.Linear([features, *hidden][-1], config.embedding_dim))
        layers += [nn.ReLU()] if config.relu_embedding else []
        super().__init__(*layers)


class Standardise(nn.Module):
    """Shift and scale features: mean 0, standard deviation 1 on average. Not in the paper."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(()))  # one for all, so that proportions stay

    def fit(self, values: np.ndarray) -> None:
        """Take mean and scale from features; InputError if they are the same in all clips."""
        self.mean.copy_(torch.from_numpy(values.mean(axis=0, dtype=np.float64)))
        self.scale.fill_(float(values.std(axis=0, dtype=np.float64).mean()))
        if not 0 < self.scale < math.inf:
            raise InputError(
                f"features of length {len(self.mean)} are the same in all clips to train on, or not"
                " finite: prepare others, or train without `standardise`"
            )

    def forward(self, values: Tensor) -> Tensor:
        """Return the features shifted and scaled."""
        return (values - self.mean) / self.scale


#: How weights start: Glorot's uniform distribution, or He's, which is made for ReLUs.
INITIAL = {
    "glorot": nn.init.xavier_uniform_,
    "he": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
}


class JointEmbedding(nn.Module):
    """Map visual and audio features into one space and classify from it.

    The classifier is one layer, shared by both embeddings (section 2); its sigmoid is part of the
    loss. Biases start from zero, as in TensorFlow, which the authors used; the paper is silent.

    Parameters
    ----------
    config : ModelConfig
        The paper's if not given.
    visual_dim, audio_dim, classes : int
        Sizes of the features, and outputs of the classifier.
    temperature : float, optional
        Learn a scale of the similarities, from 1 / temperature on, and a bias: not in the paper.
    """

    def __init__(
        self,
        config: ModelConfig | None = None,
        visual_dim: int = 1024,
        audio_dim: int = 128,
        classes: int = 3862,
        temperature: float | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        self.visual = Branch(visual_dim, config.visual_hidden, config)
        self.audio = Branch(audio_dim, config.audio_hidden, config)
        self.classifier = nn.Linear(config.embedding_dim, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                INITIAL[config.initialisation](layer.weight)
                nn.init.zeros_(layer.bias)
        if config.standardise:
            self.visual_scaler, self.audio_scaler = Standardise(visual_dim), Standardise(audio_dim)
        self.learns_scale = temperature is not None
        if temperature is not None:
            self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
            self.bias = nn.Parameter(torch.tensor(0.0))

    def forward(self, visual: Tensor, audio: Tensor, classify: bool = False) -> Embeddings:
        """Embed a batch of clips, and classify it from both embeddings if asked to.

        Features are float32, (clips, visual_dim) and (clips, audio_dim). Each embedding has length
        1 (0 where a ReLU silenced it), so a dot product is the cosine similarity of section 3. The
        classifier sees the same unit vectors (our choice: figure 1 draws it after the embedding).
        """
        if self.config.joint_normalise:
            norm = torch.cat([visual, audio], dim=1).norm(dim=1, keepdim=True).clamp_min(1e-12)
            visual, audio = visual / norm, audio / norm
        if self.config.standardise:
            visual, audio = self.visual_scaler(visual), self.audio_scaler(audio)
        visual = normalize(self.visual(visual).float(), dim=1)
        audio = normalize(self.audio(audio).float(), dim=1)
        logits = [self.classifier(x).float() for x in (visual, audio)] if classify else [None] * 2
        learned = [self.log_scale.exp(), self.bias] if self.learns_scale else [None] * 2
        return Embeddings(visual, audio, *logits, *learned)

    @torch.no_grad()
    def embed(self, visual: np.ndarray, audio: np.ndarray, batch: int = 2048) -> Embeddings:
        """Embed any number of clips, ``batch`` at a time; the result is on the CPU.

        Features are float32 or float16, (clips, visual_dim) and (clips, audio_dim), and may be
        memory-mapped.
        """
        device, parts = self.classifier.weight.device, []
        for start in range(0, max(len(visual), 1), batch):
            both = (torch.tensor(x[start : start + batch], device=device) for x in (visual, audio))
            parts.append([x.cpu() for x in self(*(x.float() for x in both))[:2]])
        return Embeddings(*(torch.cat(side) for side in zip(*parts, strict=True)))
