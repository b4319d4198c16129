"""Trains plain networks on images that are decoded when they are needed, with timm's transforms."""

from dataclasses import dataclass

from supernets.tasks.sources import ImageSet
from supernets.tasks.timm_images import TimmImages
from supernets.training.image_batches import ImageBatches
from supernets.training.plain import RecipeFit
from supernets.training.timm_augmentation import TimmAugmentation


@dataclass(frozen=True, kw_only=True)
class TimmFit(RecipeFit):
    """Starts the training of networks, all by one recipe on the same images of any size.

    Attributes:
        images: Trained on.
        augmentation: None preprocesses images as for validation.

    Raises:
        DataError: Images of other classes than the task's, or fewer than one batch.
        InputError: An augmentation that timm does not take.
    """

    task: TimmImages
    images: ImageSet
    augmentation: TimmAugmentation | None

    def batches(self, seed: int) -> ImageBatches:
        """Returns the batches of one training, each made when it is asked for."""
        return ImageBatches(task=self.task, data=self.images, batch_size=self.batch_size,
                            seed=seed, augmentation=self.augmentation)
