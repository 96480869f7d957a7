"""The two branches and the shared classifier (paper, section 2 and figure 1)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class Embeddings(NamedTuple):
    """The two embeddings of a batch, float32 (clips, embedding_dim), of length 1 each.

    The logits of the classifier, float32 (clips, classes), are there when it was asked to run.
    """

    visual: Tensor
    audio: Tensor
    visual_logits: Tensor | None = None
    audio_logits: Tensor | None = None


class Branch(nn.Sequential):
    """Fully connected layers from one modality's features to the joint space.

    Every hidden layer is followed by a ReLU (section 2); the last layer is linear, because the
    text names no activation for the embedding itself.

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
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int],
        embedding_dim: int,
        relu_embedding: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in zip([features, *hidden], hidden, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        layers.append(nn.Linear(hidden[-1] if hidden else features, embedding_dim))
        if relu_embedding:
            layers.append(nn.ReLU())
        super().__init__(*layers)


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
    ) -> None:
        super().__init__()
        self.joint_normalise = joint_normalise
        self.visual = Branch(visual_dim, visual_hidden, embedding_dim, relu_embedding)
        self.audio = Branch(audio_dim, audio_hidden, embedding_dim, relu_embedding)
        self.classifier = nn.Linear(embedding_dim, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

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
        visual = normalize(self.visual(visual).float(), dim=1)
        audio = normalize(self.audio(audio).float(), dim=1)
        if not classify:
            return Embeddings(visual, audio)
        logits = (self.classifier(visual).float(), self.classifier(audio).float())
        return Embeddings(visual, audio, *logits)

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
