"""`python -m medistill`, as `torchrun -m medistill` starts it: the program `medistill`."""

from __future__ import annotations

from medistill_cli.main import main

if __name__ == "__main__":
    main()
