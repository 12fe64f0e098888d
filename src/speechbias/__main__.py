"""``python -m speechbias`` is the command line."""

from speechbias.cli import main

if __name__ == "__main__":
    main()
