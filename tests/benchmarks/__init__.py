"""What a call and a frame cost, in this client and in its peers: `nox -s bench`."""
