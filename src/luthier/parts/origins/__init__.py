"""Origins: where rows come from that are not a data file on this disk. One file each, found by its folder."""
