"""From the command line and the notebooks to the stages of the batch."""
