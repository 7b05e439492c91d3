"""sta_mpi.report"""
