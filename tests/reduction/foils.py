"""Measured foils on which the reduction is compared with larch, in the folder of measured spectra."""

FOILS = [
    "foils_nsls/Ag_foil_Ag_K.dat",
    "foils_nsls/Au_foil_Au_L3.dat",
    "foils_nsls/Cu_foil_Cu_K.dat",
    "foils_nsls/Pd_foil_Pd_K.dat",
    "foils_nsls/Pt_foil_Pt_L3.dat",
    "foils_xdi/Au_Foil_L3_rt_2016Foils.xdi",
    "foils_xdi/Cu_Foil_rt_2016Foils.xdi",
    "foils_xdi/cu_metal_10K.xdi",
    "foils_xdi/pt_metal_rt.xdi",
    "au_nanoparticles/14_Au_foil.dat",
]
