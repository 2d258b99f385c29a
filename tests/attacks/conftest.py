"""Commands run in this process, as the tests of the command line run them."""

from tests.curate.conftest import kdcurate as kdcurate
