"""
Jets
====

Particles of jets are clouds too: nodes carry angles relative to the jet's axis and a share of its
transverse momentum, which has a heavy tail. 60,000 simulated jets and a model of gluon jets come
with the package.
"""

import gconvae

real = gconvae.datasets.Jets("g", split="test")
print(real.schema.names, real.points.shape)

# %%
model = gconvae.load("pretrained:gluon")
drawn = model.sample_clouds(4000, seed=0)

# %%
# The hardest particles are dark.

gconvae.plots.compare_grids({"real": real, "generated": drawn}, rows=3, columns=3)

# %%
# Masses and substructure are functions of all particles of a jet: they test what no histogram of
# single particles sees. The lower panels show ratios to the real jets.

gconvae.plots.jet_spectra({"real": real, "generated": drawn})

# %%
# The metrics that jet papers quote, each with its error and its real-against-real baseline.

print(gconvae.metrics.compare(real, drawn, metrics=["features", "jets"]))
