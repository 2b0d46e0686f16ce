#!/usr/bin/env bash
# A sweep as an array of SLURM jobs: each is one worker, and they share a database and a folder.
#
#   export STORAGE=postgresql://me@dbserver/sweeps   # the password is in ~/.pgpass
#   sbatch examples/slurm/sweep_array.sh
#
# A job that is killed loses nothing: another one goes on with its training. Jobs that end at
# their time limit are followed by submitting the same script again.
#SBATCH --job-name=gconvae-sweep
#SBATCH --array=1-8
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=sweep-%A-%a.log
set -euo pipefail

: "${STORAGE:?must be the URL of a database, such as postgresql://me@dbserver/sweeps}"
# on a file system that all nodes see
OUT=${OUT:-${SLURM_SUBMIT_DIR:-$PWD}/runs/beta}

exec gconvae sweep beta=0.03,0.1,0.3,1 learning_rate=3e-4,1e-3 --seeds 3 \
  --threads "${SLURM_CPUS_PER_TASK:-1}" --storage "$STORAGE" --out "$OUT"
