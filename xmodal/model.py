"""The two branches and the shared classifier (paper, section 2 and figure 1)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class Embeddings(NamedTuple):
    """The two embeddings of a batch, float32 (clips, embedding_dim), of length 1 each.

    The logits of the classifier, float32 (clips, classes), are there when it was asked to run. The
    learned scale and bias of the similarities, scalars, are there when the network has them.
    """

    visual: Tensor
    audio: Tensor
    visual_logits: Tensor | None = None
    audio_logits: Tensor | None = None
    scale: Tensor | None = None
    bias: Tensor | None = None


class Branch(nn.Sequential):
    """Fully connected layers from one modality's features to the joint space.

    Every hidden layer is followed by a ReLU (section 2); the last layer is linear, because the
    text names no activation for the embedding itself. The paper has neither dropout nor another
    activation.

    Parameters
    ----------
    features : int
        Size of the input.
    hidden : sequence of int
        Units of each hidden layer, from the features to the embedding.
    embedding_dim : int
        Size of the embedding.
    relu_embedding : bool
        Also apply a ReLU to the embedding, as the authors' code does: no cosine is then negative.
    dropout_input, dropout : float
        Share of the features, and of each hidden layer's outputs, set to zero in training.
    activation : "relu" or "gelu"
        After every hidden layer.
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int],
        embedding_dim: int,
        relu_embedding: bool = False,
        dropout_input: float = 0.0,
        dropout: float = 0.0,
        activation: str = "relu",
    ) -> None:
        layers: list[nn.Module] = [nn.Dropout(dropout_input)] if dropout_input else []
        for inputs, outputs in zip([features, *hidden], hidden, strict=False):
            layers += [nn.Linear(inputs, outputs), {"relu": nn.ReLU, "gelu": nn.GELU}[activation]()]
            layers += [nn.Dropout(dropout)] if dropout else []
        layers.append(nn.Linear(hidden[-1] if hidden else features, embedding_dim))
        if relu_embedding:
            layers.append(nn.ReLU())
        super().__init__(*layers)


class Standardise(nn.Module):
    """Shift and scale the features of one modality: mean 0, standard deviation 1 on average.

    One scale for all dimensions, so that their proportions stay. It is no part of the paper.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, values: np.ndarray) -> None:
        """Take mean and scale from some clips: float, (clips, features)."""
        self.mean.copy_(torch.from_numpy(values.mean(axis=0, dtype=np.float64)))
        self.scale.fill_(float(values.std(axis=0, dtype=np.float64).mean()))

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

    Parameters
    ----------
    visual_dim, audio_dim : int
        Sizes of the features: 1024 and 128 in YouTube-8M.
    visual_hidden, audio_hidden : sequence of int
        Units of the hidden layers (section 3.1).
    embedding_dim : int
        Size of the joint space; 250 in section 3.1.
    classes : int
        Outputs of the classifier: one fully connected layer shared by both embeddings, whose
        sigmoid is part of the loss.
    relu_embedding : bool
        See `Branch`.
    joint_normalise : bool
        Scale each clip's features so that ‖visual‖² + ‖audio‖² = 1, as the authors' code does.
        It leaks: a clip's visual norm then determines its audio norm.
    dropout_input, dropout, activation
        See `Branch`.
    standardise : bool
        Shift and scale the features first, see `Standardise`; it is to be fitted before training.
    temperature : float, optional
        Learn a scale of the similarities, from 1 / temperature on, and a bias: what the objectives
        other than the paper's need.
    initialisation : "glorot" or "he"
        Of the weights.

    Notes
    -----
    Weights start from Glorot's uniform distribution and biases from zero: our choice, being what
    TensorFlow's layers, which the authors used, start from. The paper is silent.
    """

    def __init__(
        self,
        visual_dim: int = 1024,
        audio_dim: int = 128,
        visual_hidden: Sequence[int] = (2000, 2000, 700, 700),
        audio_hidden: Sequence[int] = (450, 450, 200, 200),
        embedding_dim: int = 250,
        classes: int = 3862,
        relu_embedding: bool = False,
        joint_normalise: bool = False,
        dropout_input: float = 0.0,
        dropout: float = 0.0,
        activation: str = "relu",
        standardise: bool = False,
        temperature: float | None = None,
        initialisation: str = "glorot",
    ) -> None:
        super().__init__()
        self.joint_normalise = joint_normalise
        kind = (embedding_dim, relu_embedding, dropout_input, dropout, activation)
        self.visual = Branch(visual_dim, visual_hidden, *kind)
        self.audio = Branch(audio_dim, audio_hidden, *kind)
        self.classifier = nn.Linear(embedding_dim, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                INITIAL[initialisation](layer.weight)
                nn.init.zeros_(layer.bias)
        if standardise:
            self.visual_scaler, self.audio_scaler = Standardise(visual_dim), Standardise(audio_dim)
        if temperature is not None:
            self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
            self.bias = nn.Parameter(torch.tensor(0.0))
        self.standardise, self.learns_scale = standardise, temperature is not None

    def forward(self, visual: Tensor, audio: Tensor, classify: bool = False) -> Embeddings:
        """Embed a batch of clips, and classify it from both embeddings if asked to.

        Parameters
        ----------
        visual, audio : Tensor, float32, (clips, visual_dim) and (clips, audio_dim)
            Features as YouTube-8M gives them.
        classify : bool
            Also run the shared classifier on both embeddings.

        Returns
        -------
        Embeddings
            Each row has length 1 (or 0, where a ReLU silenced the whole embedding), so a dot
            product is the cosine similarity of section 3. The classifier sees the same unit
            vectors (our choice: the figure draws it after the embedding, the text says no more).
        """
        if self.joint_normalise:
            norm = torch.cat([visual, audio], dim=1).norm(dim=1, keepdim=True).clamp_min(1e-12)
            visual, audio = visual / norm, audio / norm
        if self.standardise:
            visual, audio = self.visual_scaler(visual), self.audio_scaler(audio)
        visual = normalize(self.visual(visual).float(), dim=1)
        audio = normalize(self.audio(audio).float(), dim=1)
        found = Embeddings(visual, audio)
        if classify:
            visual_logits, audio_logits = (self.classifier(x).float() for x in found[:2])
            found = found._replace(visual_logits=visual_logits, audio_logits=audio_logits)
        if self.learns_scale:
            found = found._replace(scale=self.log_scale.exp(), bias=self.bias)
        return found

    @torch.no_grad()
    def embed(self, visual: np.ndarray, audio: np.ndarray, batch: int = 2048) -> Embeddings:
        """Embed any number of clips, in float32, a batch at a time.

        Parameters
        ----------
        visual, audio : array, float32 or float16, (clips, visual_dim) and (clips, audio_dim)
            Features; memory-mapped ones are read as they are needed.
        batch : int
            Clips that are in memory at once.

        Returns
        -------
        Embeddings
            On the CPU.
        """
        device = self.classifier.weight.device
        parts = [
            self(
                torch.tensor(visual[start : start + batch], device=device).float(),
                torch.tensor(audio[start : start + batch], device=device).float(),
            )
            for start in range(0, len(visual), batch)
        ]
        return Embeddings(
            torch.cat([part.visual for part in parts]).cpu(),
            torch.cat([part.audio for part in parts]).cpu(),
        )
