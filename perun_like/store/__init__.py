"""The HDF5 file: schema, assembly, reading."""
