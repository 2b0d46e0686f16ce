#!/bin/bash
# The same command on each machine, with the address of the first one:
#
#   MASTER=node-0 MACHINE=0 bash torchrun.sh
#   MASTER=node-0 MACHINE=1 bash torchrun.sh
set -euo pipefail
torchrun --nnodes 2 --node-rank "$MACHINE" --nproc-per-node 4 \
  --rdzv-backend c10d --rdzv-endpoint "$MASTER:29500" \
  --module gconvae.cli train --data "${DATA:-gluons.h5}" --out "${RUN:-runs/gluons}" \
  --accelerator gpu --devices 4 --num_nodes 2 --strategy ddp --batch_size 800
