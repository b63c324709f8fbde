"""`python -m kirotunnel`: the command line."""

from kirotunnel.cli.main import main

if __name__ == "__main__":
    main()
