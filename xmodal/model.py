"""The two branches and the shared classifier (section 2 and figure 1)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmodal.config import ModelConfig
from xmodal.fourier import KernelCCA, Standardise
from xmodal.kernels import Dropout


class Embeddings(NamedTuple):
    """Unit vectors, float32 (clips, embedding_dim); logits, (clips, classes), if asked for."""

    visual: Tensor
    audio: Tensor
    visual_logits: Tensor | None = None
    audio_logits: Tensor | None = None


class Branch(nn.Sequential):
    """Fully connected layers with ReLUs; the last is linear, as the text names no activation."""

    def __init__(self, features: int, hidden: Sequence[int], config: ModelConfig) -> None:
        activation = {"relu": nn.ReLU, "gelu": nn.GELU}[config.activation]
        layers: list[nn.Module] = [Dropout(config.dropout_input)] if config.dropout_input else []
        for inputs, outputs in zip([features, *hidden], hidden, strict=False):
            layers += [nn.Linear(inputs, outputs), activation()]
            layers += [Dropout(config.dropout)] if config.dropout else []
        layers.append(nn.Linear([features, *hidden][-1], config.embedding_dim))
        layers += [nn.ReLU()] if config.relu_embedding else []
        super().__init__(*layers)


class JointEmbedding(nn.Module):
    """Map visual and audio features into one space, and classify from it (section 2).

    The classifier is one layer, shared by both embeddings; its sigmoid is part of the loss. Biases
    start from zero, as in TensorFlow, which the authors used; the paper is silent.

    Parameters
    ----------
    config : ModelConfig, optional
        Layers and switches; the paper's if not given.
    visual_dim, audio_dim, classes : int
        Sizes of the features, and outputs of the classifier.
    temperature : float, optional
        Learn scale (1 / temperature at first) and bias of the similarities: not in the paper.
    random_features, directions : int
        Those of a kernel CCA whose embedding stands beside the network's; 0: there is none.
    """

    def __init__(
        self,
        config: ModelConfig | None = None,
        visual_dim: int = 1024,
        audio_dim: int = 128,
        classes: int = 3862,
        temperature: float | None = None,
        random_features: int = 0,
        directions: int = 0,
    ) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        self.sizes = {"visual_dim": visual_dim, "audio_dim": audio_dim, "classes": classes}
        self.sizes |= {"random_features": random_features, "directions": directions}
        self.visual = Branch(visual_dim, config.visual_hidden, config)
        self.audio = Branch(audio_dim, config.audio_hidden, config)
        self.classifier = nn.Linear(config.embedding_dim, classes)
        initial = {"glorot": "xavier_uniform_", "he": "kaiming_uniform_"}[config.initialisation]
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                getattr(nn.init, initial)(layer.weight)
                nn.init.zeros_(layer.bias)
        if config.standardise:
            self.visual_scaler, self.audio_scaler = Standardise(visual_dim), Standardise(audio_dim)
        if temperature is not None:
            self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
            self.bias = nn.Parameter(torch.tensor(0.0))
        self.directions, self.dim = directions, config.embedding_dim + directions
        if directions:
            self.kernel_cca = KernelCCA(visual_dim, audio_dim, random_features, directions)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> "JointEmbedding":
        """Load a trained model: by the name of weights of the package, a folder, or a hub's id.

        A folder is that of a run, or one that `save_pretrained` wrote; "owner/name" is looked for
        on the Hugging Face hub, which needs the extra ``hub``. InputError if there is none.
        """
        from xmodal.pretrained import load

        return load(name)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights and sizes to a folder, new or empty, that `from_pretrained` reads."""
        from xmodal.pretrained import save_model

        save_model(self, Path(folder))

    @property
    def scale_and_bias(self) -> tuple[Tensor, Tensor] | None:
        """Scale and bias of the similarities, scalars; None if they are not learned."""
        return (self.log_scale.exp(), self.bias) if "log_scale" in self._parameters else None

    def forward(self, visual: Tensor, audio: Tensor, classify: bool = False) -> Embeddings:
        """Embed a batch of clips: float32 (clips, visual_dim) and (clips, audio_dim).

        Each embedding has length 1 (0 where a ReLU silenced it), so that a dot product is the
        cosine similarity of section 3. The classifier sees the same unit vectors (our choice).
        """
        features = visual, audio
        if self.config.joint_normalise:
            norm = torch.cat([visual, audio], dim=1).norm(dim=1, keepdim=True).clamp_min(1e-12)
            visual, audio = visual / norm, audio / norm
        if self.config.standardise:
            visual, audio = self.visual_scaler(visual), self.audio_scaler(audio)
        visual = normalize(self.visual(visual).float(), dim=1)
        audio = normalize(self.audio(audio).float(), dim=1)
        if classify:
            return Embeddings(visual, audio, *(self.classifier(x).float() for x in (visual, audio)))
        if self.directions:
            visual, audio = self.kernel_cca(*features, visual, audio)
        return Embeddings(visual, audio)

    @torch.no_grad()
    def embed(self, visual: np.ndarray, audio: np.ndarray, batch: int = 2048) -> Embeddings:
        """Embed clips, float32 or float16, ``batch`` at a time; the result is on the CPU."""
        device, parts = self.classifier.weight.device, []
        for start in range(0, max(len(visual), 1), batch):
            both = (torch.tensor(x[start : start + batch], device=device) for x in (visual, audio))
            parts.append([x.cpu() for x in self(*(x.float() for x in both))[:2]])
        return Embeddings(*(torch.cat(side) for side in zip(*parts, strict=True)))

    def embed_visual(self, visual: np.ndarray) -> Tensor:
        """Embed videos alone: features, (clips, visual_dim) or (visual_dim,), to (clips, dim).

        InputError if they have another shape or are not finite, or the model needs both halves.
        """
        from xmodal.pretrained import embed_half

        return embed_half(self, visual=visual)

    def embed_audio(self, audio: np.ndarray) -> Tensor:
        """Embed sounds alone: features, (clips, audio_dim) or (audio_dim,), to (clips, dim)."""
        from xmodal.pretrained import embed_half

        return embed_half(self, audio=audio)
