"""The course's own tooling, started as `python3 -m course COMMAND`: it runs the weeks and the tests."""
