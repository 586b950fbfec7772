"""What goes wrong, provoked on real sockets; `client_matrix` says on which ways."""
