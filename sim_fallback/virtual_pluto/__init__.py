"""Virtual PlutoSDRs: IIOD servers on one virtual air, which real libiio clients open over TCP."""
