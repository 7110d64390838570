"""The recipes that come with nas-sv2.

Recipes for candidates follow experiments on Fashion-MNIST. SGD with Nesterov momentum, one linear
warm-up and one linear descent exaggerates the penalty of depth least. Scores from the middle of
such a schedule say nothing. No recipe here is shown to *rank* networks. `quick` is the best that
was found within its time, `standard` is the same for longer, `long` is four times as long.

Recipes for full trainings are `paper`, `megvii` and `torchvision-new`, each with its source.
"""

from functools import partial

from nas_sv2.evaluate.recipes.recipe import FullTraining, Recipe

# quick: chosen among four on eight networks of docs/lab/certificates/space.yaml, Fashion-MNIST,
# by Kendall's tau (cross-entropy) of one seed and one training by reference.yaml beside it.
# The best of four on eight is partly luck, so quick is certified on other networks
# (docs/lab/2026-11-25-how-recipes-rank.md).
#   24,000 images, stem stride 2, batch 64, rate 0.2        12 CPU s   0.93   <- taken
#   12,000 images, stem stride 1, batch 32, rate 0.1        18 CPU s   0.79
#   24,000 images, stem stride 1, batch 64, rate 0.2        28 CPU s   0.79
#   12,000 images, stem stride 1, batch 64, rate 0.2        13 CPU s   0.57
#   (counting FLOPs                                          0          0.25)
# A stride of 2 also keeps larger images affordable. standard is quick for longer, with shifts,
# which cost accuracy in few passes; long is four times standard.
# Candidates are compared by cross-entropy: the two trainings of 16 other networks by the reference
# agree on their order with a tau of 0.60 in cross-entropy, of 0.48 in top-1.
# smoke brings V2 0.5x to twice chance or more in two seconds: 60 steps, small batches.
_ranked = partial(Recipe, images_per_epoch=6_500, learning_rate=0.2, score="cross_entropy")
_FOR_CANDIDATES = (
    Recipe("smoke", 1, images_per_epoch=960, validation_images=500, batch=16, learning_rate=0.05),
    _ranked("quick", 4, shift=0),
    _ranked("standard", 8, validate_each_epoch=True),
    _ranked("long", 32, validate_each_epoch=True),
)

# 300,000 steps of 1,024 images are 240 passes over ImageNet's 1.28 million.
_published = partial(
    Recipe,
    stem_pool=True,
    resolution=224,
    batch=1024,
    learning_rate=0.5,
    nesterov=False,
    shift=0,
    norm_images=0,
    hopeless_after=0.0,
)
_FOR_WINNERS = (
    # ShuffleNet V1 (Zhang et al., CVPR 2018, section 4), whose protocol the V2 paper takes over.
    # It says "slightly less aggressive scale augmentation" and no range; tensorpack's repetition
    # cuts areas from 0.49 below 1x and from 0.08 from 1x on, and reaches the paper's accuracies.
    _published(
        "paper",
        240,
        warm_up=0.0,
        weight_decay=4e-5,
        label_smoothing=0.0,
        crop_area=0.08,
        full_training=FullTraining(validation_resize=256),
    ),
    # megvii-model/ShuffleNet-Series, ShuffleNetV2/train.py, behind the released weights. Left out:
    # dropout of 0.2 before the classifier, at 2x only.
    _published(
        "megvii",
        240,
        warm_up=0.0,
        weight_decay=4e-5,
        label_smoothing=0.1,
        crop_area=0.08,
        colour=0.4,
        full_training=FullTraining(validation_resize=256, raw_input=True, norm_steps=1250),
    ),
    # pytorch/vision#5906, behind torchvision's weights of x1_5 and x2_0; 8 GPUs of 128 images, and
    # 5 of 600 passes of warm-up.
    _published(
        "torchvision-new",
        600,
        warm_up=5 / 600,
        schedule="cosine",
        weight_decay=2e-5,
        label_smoothing=0.1,
        crop_area=0.08,
        full_training=FullTraining(
            validation_resize=232,
            train_resolution=176,
            trivial_augment=True,
            random_erase=0.1,
            mixup=0.2,
            cutmix=1.0,
            repeated_augmentation=4,
            ema=True,
        ),
    ),
)
RECIPES = {recipe.name: recipe for recipe in (*_FOR_CANDIDATES, *_FOR_WINNERS)}
