#!/bin/bash
# Training on several machines without SLURM: run this script on each of them at about the same time.
#
#   NODES=2 PROCESSES=8 HEAD=10.0.0.1 configs/slurm/torchrun.sh --config faces --data.path PAIRS --output RUN
#
# PAIRS and RUN have to be places that all machines see: a shared disk (PAIRS may be s3://... too). torchrun starts the
# processes again when one of them or a machine dies, and `--resume auto` goes on from the last checkpoint.

set -eu
NODES=${NODES:-1}                   # EDIT: machines
PROCESSES=${PROCESSES:-1}           # EDIT: processes per machine, one for each GPU
HEAD=${HEAD:-localhost}             # EDIT: name or address of one of the machines, the same on all
PORT=${PORT:-29400}                 # EDIT: a free port there
PYTHON=${PYTHON:-python}            # EDIT: the Python that text2latent is installed for
# EDIT where machines have several networks: export NCCL_SOCKET_IFNAME=eth0 (or GLOO_SOCKET_IFNAME without GPUs).

exec "$PYTHON" -m torch.distributed.run \
    --nnodes="$NODES" --nproc-per-node="$PROCESSES" --max-restarts=3 \
    --rdzv-backend=c10d --rdzv-endpoint="$HEAD:$PORT" --rdzv-id=text2latent \
    -m text2latent train --resume auto "$@"
