"""The command line: parse, call one function, print (design, section 2).

A verb imports what it needs when it runs, so that ``relive --help`` answers at once and
``relive info`` never loads torch.
"""

from relive.cli.run import run

__all__ = ["run"]
