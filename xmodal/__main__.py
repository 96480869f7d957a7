"""`python -m xmodal`, also for torchrun and accelerate launch."""

from xmodal.cli import main

main()
