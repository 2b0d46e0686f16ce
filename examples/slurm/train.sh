#!/bin/bash
#SBATCH --job-name=gconvae
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00

# Two machines with four GPUs each train one model; the same command runs in each of eight tasks.
# A job that is sent again goes on where the last one was stopped.
set -euo pipefail
run=${RUN:-runs/gluons}
if [ -e "$run/manifest.json" ]; then
  begin=(--resume "$run")
else
  begin=(--out "$run")
fi
# an error in one task ends all of them
srun --kill-on-bad-exit=1 gconvae train --data "${DATA:-gluons.h5}" "${begin[@]}" \
  --accelerator gpu --devices 4 --num_nodes 2 --strategy ddp --batch_size 800 --logger csv
