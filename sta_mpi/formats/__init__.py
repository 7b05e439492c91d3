"""sta_mpi.formats"""
