"""What goes wrong, provoked on real sockets; `legs` says on which ways."""
