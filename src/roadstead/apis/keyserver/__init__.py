"""The door at `/pks/`: an OpenPGP key server, by the HTTP Keyserver Protocol (draft-gallagher-openpgp-hkp)."""
