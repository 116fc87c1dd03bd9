"""The Fréchet distance between two sets of features, each taken for a Gaussian.

Chapter: *Comparison*. Sources: Dowson and Landau (1982),
doi:10.1016/0047-259X(82)90077-X, for the distance; Heusel et al. (2017), arXiv:1706.08500,
for measuring generated images by it. The name FID belongs to the features of one Inception
network; of other features, such as our classifier's, this is a 'Fréchet feature distance'.
"""

import torch

from .errors import MetricsError


def frechet_distance(features_a: torch.Tensor, features_b: torch.Tensor) -> float:
    """Return the squared Fréchet distance of two sets of features: :eq:`comparison-frechet`.

    ``features_a`` is (N, D), ``features_b`` is (M, D); all is computed in double precision,
    the covariances with N - 1 and M - 1. It is biased: even two sets of draws from one
    distribution are apart, the more so the fewer they are. Compare only numbers with the same N
    and M, and state these. Raises ``MetricsError`` for features of wrong shapes, that are
    not finite, or of no more samples than dimensions, whose covariance would be singular.
    """
    check_features(features_a, features_b)
    for features in (features_a, features_b):
        samples, dim = features.shape
        if samples <= dim:
            raise MetricsError(
                f"{samples} samples are too few for a covariance of {dim} features; "
                f"at least {dim + 1} are needed, and the result depends on their number"
            )
    return frechet_of_gaussians(*moments(features_a), *moments(features_b))


def moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean (D,) and unbiased covariance (D, D) of features (N, D), in float64."""
    features = features.detach().double()
    centered = features - features.mean(0)
    return features.mean(0), centered.T @ centered / (len(features) - 1)


def frechet_of_gaussians(
    mean_a: torch.Tensor,
    covariance_a: torch.Tensor,
    mean_b: torch.Tensor,
    covariance_b: torch.Tensor,
) -> float:
    """Return :eq:`comparison-frechet` for N(mean_a, covariance_a) and N(mean_b, covariance_b).

    The means are (D,), the covariances (D, D), float64. The trace of (A B)^(1/2) is the sum
    of the square roots of the eigenvalues of A^(1/2) B A^(1/2), and these roots are the
    singular values of A^(1/2) B^(1/2). The latter are taken, as they lose no digits by
    squaring, and nothing complex can arise as with the root of a matrix that is not symmetric.
    """
    root_a, root_b = _square_root(covariance_a), _square_root(covariance_b)
    trace_of_root = torch.linalg.svdvals(root_a @ root_b).sum()
    distance = (
        (mean_a - mean_b).square().sum()
        + covariance_a.trace()
        + covariance_b.trace()
        - 2 * trace_of_root
    )
    return max(0.0, float(distance))  # rounding may leave a little less than zero


def check_features(features_a: torch.Tensor, features_b: torch.Tensor) -> None:
    """Raise ``MetricsError`` unless both are (N, D), with one D, and finite."""
    for features in (features_a, features_b):
        if features.ndim != 2 or not features.is_floating_point():
            raise MetricsError(
                "features must be floating-point and of shape (samples, features), but these "
                f"are {features.dtype} of shape {tuple(features.shape)}"
            )
        if not features.isfinite().all():
            raise MetricsError("the features contain NaN or infinity")
    if features_a.shape[1] != features_b.shape[1]:
        raise MetricsError(
            f"{features_a.shape[1]} features cannot be compared with {features_b.shape[1]}"
        )


def _square_root(covariance: torch.Tensor) -> torch.Tensor:
    """Return the symmetric root of a symmetric matrix without negative eigenvalues."""
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    return (eigenvectors * eigenvalues.clamp(min=0).sqrt()) @ eigenvectors.T
