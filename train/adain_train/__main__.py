"""``python -m adain_train``, as torchrun starts it: ``torchrun --nproc-per-node 2 -m adain_train student ...``."""

from adain_train.cli import main

if __name__ == "__main__":
    main()
