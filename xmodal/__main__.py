"""`python -m xmodal`, also for torchrun and accelerate launch."""

from xmodal.pipeline.cli import main

main()
