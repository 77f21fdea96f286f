"""`python -m arcgate.gateway`: one worker of a gateway node."""

from arcgate.gateway.service import main

if __name__ == "__main__":
    main()
