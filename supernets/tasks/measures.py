"""What the error of networks that make images can be. Without torch: reports need it, too."""

from nas.core.protocols import Quality

CROSS_ENTROPY, FID = "cross-entropy", "fid"
MEASURES = (CROSS_ENTROPY, FID)

# A Fréchet distance is no share of anything; its value depends on the feature net.
DISTANCE = Quality(name="feature-FID", unit="")
