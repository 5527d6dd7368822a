"""Facts of published datasets that several tests compare with."""

SEN12LANDSLIDES_LATTICE = {
    "chimanimani": (32736, 58, -26834),
    "china": (32648, 47, -14895),
    "dominicamaria": (32620, 52, -27932),
    "hiroshima": (32653, 48, -12691),
    "hokkaido": (32654, 40, -21117),
    "indonesia": (32750, 49, -38989),
    "italy": (32632, 74, -40491),
    "itogon": (32651, 40, -8632),
    "kyrgyzstan1": (32643, 87, -24206),
    "kyrgyzstan2": (32643, 121, -30692),
    "lanaodelnorte": (32651, 26, -12759),
    "nepal": (32645, 21, -7543),
    "newzealand": (32759, 82, -46100),
    "thrissur": (32643, 46, -24337),
    "usa_alaska": (32607, 38, -20199),
    "usa_puertorico": (32619, 43, -25194),
}
"""EPSG code, rows of the extent, and the number that ids begin from, of each region of Sen12Landslides."""
