from enum import Enum

class SevMode(Enum):
    SEV_SNP = ...
