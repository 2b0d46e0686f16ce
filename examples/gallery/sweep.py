"""
A sweep over beta
=================

beta weighs the KL term against the reconstruction. A sweep trains once for every value and seed,
and compares what the models generate with clouds that none of them saw.
"""

import tempfile
from pathlib import Path

import gconvae
from gconvae.options import ModelOptions, TrainingOptions

data = gconvae.datasets.SuperpixelMNIST(digit=8, split="train")[:1500]

# %%
# Results are kept in the folder: a sweep that is stopped goes on when it is started again, and a
# second process shares the work.

small = gconvae.studies.Experiment(
    model=ModelOptions(hidden=128), training=TrainingOptions(epochs=3)
)
folder = Path(tempfile.mkdtemp()) / "beta"
sweep = gconvae.sweep(
    {"beta": [0.03, 0.3, 3.0]}, data, experiment=small, seeds=2, out=folder, progress=False
)
print(sweep)

# %%
# Error bars are of the seeds. Three epochs are too few to choose by: a training takes 100, and a
# sweep more seeds.

gconvae.plots.settings(sweep.to_dict(), "beta")
