"""`python -m orchestration` is `taskq`."""

from orchestration.taskq import main

if __name__ == "__main__":
    main()
