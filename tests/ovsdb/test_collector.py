import gc

from ovenbird.ovsdb import BulkLoad


def test_the_collector_pauses_until_the_last_load_has_ended():
    assert gc.isenabled()
    one, other = BulkLoad(), BulkLoad()
    one.begin()
    other.begin()
    one.end()
    assert not gc.isenabled()
    one.end()
    assert not gc.isenabled(), "a load ends once"
    other.end()
    assert gc.isenabled()
