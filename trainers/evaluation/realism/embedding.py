"""t-SNE of tumour crops and of whole slices (paper section 2.5, figure 6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from trainers.torchvision_kernels import load_kernels


def tumour_crops(images: np.ndarray, boxes: Sequence[np.ndarray], size: int) -> np.ndarray:
    """The content of every box, resized.

    Args:
        images: N x S x S uint8.
        boxes: of each slice n x 4 pixels.
        size: side of a crop, pixels.

    Returns:
        One crop per box, slice by slice: M x size x size float32 grey levels, 0..255 (bilinear, averaged where shrunk).
    """
    load_kernels()
    pixels = torch.from_numpy(np.ascontiguousarray(images))[:, None].float()
    of_slice = [np.asarray(corners, np.float32).reshape(-1, 4) for corners in boxes]
    rois = np.concatenate([np.insert(corners, 0, position, axis=1) for position, corners in enumerate(of_slice)])
    # Scale 1, and as many samples as a bin needs.
    crops = torch.ops.torchvision.roi_align(pixels, torch.from_numpy(rois), 1.0, size, size, -1, True)
    return crops[:, 0].numpy()


def embed(groups: Sequence[np.ndarray], perplexity: float, iterations: int, seed: int) -> tuple[list[np.ndarray], str]:
    """Place images in the plane so that like ones lie together (t-SNE, van der Maaten and Hinton 2008).

    Args:
        groups: each n x ... grey levels, n at least 1 and at least 4 in all.
        perplexity: lowered to a third of the images where they are too few.

    Returns:
        Each group's places, n x 2, and a sentence on what was done.
    """
    from sklearn.manifold import TSNE

    points = np.concatenate([group.reshape(len(group), -1) for group in groups]).astype(np.float32) / 255
    used = min(perplexity, (len(points) - 1) / 3)
    counts = " + ".join(str(len(group)) for group in groups)
    done = f"t-SNE of {counts}, perplexity {used:.3g}, {iterations:,} iterations"
    if used < perplexity:
        done += f" (lowered from {perplexity:g}: too few images)"
    places = TSNE(perplexity=used, max_iter=iterations, init="pca", random_state=seed).fit_transform(points)
    return np.split(places, np.cumsum([len(group) for group in groups])[:-1]), done
