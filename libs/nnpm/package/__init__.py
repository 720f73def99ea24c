"""What a package is: its name, versions, manifest, files and chunks. Pure: no network, no database."""
