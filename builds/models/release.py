"""What was published: projects, releases, components, launch configurations and materials."""

from __future__ import annotations

import hashlib
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from builds.domain.comparison import Subject
from builds.domain.errors import MalformedInput
from builds.domain.manifest import MANIFEST_FILE
from builds.domain.queue import Needs
from builds.domain.recipe import RecipeOrigin, parse_any_recipe
from builds.domain.roles import BootMode, Role
from builds.models.base import SHA256_HEX, SHA384_HEX, AppendOnly, choices, hex_or_empty, tail
from builds.querysets import ReleaseQuerySet


class Project(models.Model):
    """A source repository whose releases are audited, and the policy they are judged by."""

    name = models.SlugField(max_length=80, unique=True)
    source_url = models.CharField(max_length=500)
    needed_operators = models.PositiveSmallIntegerField(default=2)
    recipe = models.TextField(blank=True)
    """A portal-maintained recipe, for a source tree that has none; one in the tree wins."""
    recipe_author = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(recipe="") | ~Q(recipe_author=""), name="project_recipe_author"),
            # None needed would make a release that nobody rebuilt as good as one that everybody did.
            models.CheckConstraint(condition=Q(needed_operators__gte=1), name="project_needs_an_operator"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def recipe_sha256(self) -> str:
        """SHA-256 of the portal-maintained recipe; empty when there is none."""
        return hashlib.sha256(self.recipe.encode()).hexdigest() if self.recipe else ""

    def clean(self) -> None:
        """A recipe is stored as a text file has it, and only one that can be read."""
        # A form field comes with other line ends and without the last one, and would have another digest.
        text = self.recipe.replace("\r\n", "\n").strip()
        self.recipe = f"{text}\n" if text else ""
        if not self.recipe:
            return
        try:
            parse_any_recipe(self.recipe.encode())
        except MalformedInput as error:
            raise ValidationError({"recipe": str(error)}) from error
        if not self.recipe_author:
            raise ValidationError({"recipe_author": "Who wrote this recipe?"})


class AcceptedOpaqueInput(models.Model):
    """An opaque input that the project's policy accepts by digest, with its reason and date."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="accepted_opaque_inputs")
    sha256 = models.CharField(max_length=64)
    reason = models.TextField()
    accepted_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "sha256"], name="opaque_input_accepted_once"),
            models.CheckConstraint(condition=Q(sha256__regex=SHA256_HEX), name="accepted_opaque_sha256"),
        ]

    def __str__(self) -> str:
        return f"sha256:{self.sha256}"


class Material(models.Model):
    """A build input pinned by digest, and whether a signed archive index named that digest."""

    sha256 = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=100)
    version = models.CharField(max_length=200, blank=True)
    architecture = models.CharField(max_length=40, blank=True)
    suite = models.CharField(max_length=80, blank=True)
    size = models.PositiveBigIntegerField(null=True)
    """In bytes; None while nobody has fetched it."""
    authenticated = models.BooleanField(default=False)
    authenticity = models.CharField(max_length=1000)
    """The sentence that says which signed index named the digest, or why none did."""
    first_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(sha256__regex=SHA256_HEX), name="material_sha256"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Release(models.Model):
    """A published version, as imported. The document that names its digests is kept as the published bytes."""

    project = models.ForeignKey(Project, models.PROTECT, related_name="releases")
    tag = models.CharField(max_length=200)
    commit = models.CharField(max_length=40)
    source_date_epoch = models.PositiveBigIntegerField()
    manifest = models.BinaryField()
    manifest_sha256 = models.CharField(max_length=64)
    document_name = models.CharField(max_length=300, default=MANIFEST_FILE)
    """The file name of what ``manifest`` holds: the manifest, or the build-info of releases that have that."""
    recipe_origin = models.CharField(max_length=20, choices=choices(RecipeOrigin), blank=True)
    """Empty while it is not known, because the source could not be read."""
    recipe_sha256 = models.CharField(max_length=64, blank=True)
    recipe_author = models.CharField(max_length=200, blank=True)
    portal_recipe = models.TextField(blank=True)
    """The portal-maintained recipe as it was when this release was read; empty when the source tree has one."""
    commit_time = models.PositiveBigIntegerField(null=True)
    """The commit's own time in seconds, which builds use as SOURCE_DATE_EPOCH; None while it is not known."""
    recipe_roles = models.JSONField(default=list)
    """The components that the recipe makes, by role; empty when it is not known or makes none."""
    lock_sha256 = models.CharField(max_length=64, blank=True)
    """Over the digests of every locked material (``lock_digest``); empty while the lock is not known."""
    recipe_format = models.PositiveSmallIntegerField(default=1)
    needs_memory_bytes = models.PositiveBigIntegerField(default=0)
    needs_disk_bytes = models.PositiveBigIntegerField(default=0)
    needs_network = models.BooleanField(default=False)
    needs_registry = models.BooleanField(default=False)
    base_image = models.CharField(max_length=300, blank=True)
    """The image that the recipe pulls by its digest (``name@sha256:hex``); empty when it pulls none."""
    evidence_changed_at = models.DateTimeField(default=timezone.now, db_index=True)
    judged_at = models.DateTimeField(null=True, db_index=True)
    """When its verdict was last derived for the record; a later change of evidence asks for it again."""
    imported_at = models.DateTimeField(default=timezone.now)
    measurements_indexed_at = models.DateTimeField(null=True, db_index=True)
    """None while its launch measurements wait to be indexed, or to be indexed anew."""
    materials = models.ManyToManyField(Material, related_name="releases")
    materials_stored_at = models.DateTimeField(null=True)

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-imported_at", "-pk"]
        indexes: ClassVar = [
            models.Index(fields=["commit"], name="release_by_commit"),
            models.Index(fields=["manifest_sha256"], name="release_by_manifest"),
            models.Index(fields=["imported_at"], name="release_by_import"),
            models.Index(fields=["project", "source_date_epoch"], name="release_in_order"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["project", "tag"], name="release_once_per_tag"),
            models.CheckConstraint(condition=Q(commit__regex=r"^[0-9a-f]{40}$"), name="release_commit"),
            models.CheckConstraint(condition=Q(manifest_sha256__regex=SHA256_HEX), name="release_manifest_sha256"),
            models.CheckConstraint(condition=hex_or_empty("lock_sha256", SHA256_HEX), name="release_lock_sha256"),
            models.CheckConstraint(
                condition=Q(recipe_origin="", recipe_sha256="", recipe_author="", portal_recipe="")
                | Q(recipe_origin=RecipeOrigin.SOURCE_TREE.value, recipe_author="", portal_recipe="")
                & Q(recipe_sha256__regex=SHA256_HEX)
                | Q(recipe_origin=RecipeOrigin.PORTAL.value, recipe_sha256__regex=SHA256_HEX)
                & ~Q(recipe_author="")
                & ~Q(portal_recipe=""),
                name="release_recipe",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.project.name} {self.tag}"

    def get_absolute_url(self) -> str:
        return reverse("release", args=[self.project.name, self.tag])

    @property
    def needs(self) -> Needs:
        """What a machine must have to rebuild it."""
        return Needs(
            recipe_format=self.recipe_format,
            memory_bytes=self.needs_memory_bytes,
            disk_bytes=self.needs_disk_bytes,
            network=self.needs_network,
            registry=self.needs_registry,
        )


class ReleaseEvent(AppendOnly):
    """Something that happened to a release: imported, contradiction found, materials stored or gone."""

    release = models.ForeignKey(Release, models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=60)
    detail = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["at", "pk"]

    def __str__(self) -> str:
        return self.kind


class Component(models.Model):
    """One published component. Empty digests mean: not known; ``problem`` says why."""

    release = models.ForeignKey(Release, models.CASCADE, related_name="components")
    role = models.CharField(max_length=20, choices=choices(Role))
    file_name = models.CharField(max_length=300, blank=True)
    member = models.TextField(blank=True)
    """The component's name inside a tarball that holds several; empty when the file is of this component alone."""
    container_kind = models.CharField(max_length=20, blank=True)
    claimed_digest = models.CharField(max_length=140, blank=True)
    """``algorithm:hex`` as the manifest says; empty when the manifest does not name the role."""
    claim_subject = models.CharField(max_length=20, choices=choices(Subject), default=Subject.CONTENT)
    size = models.PositiveBigIntegerField(null=True)
    sha256 = models.CharField(max_length=64, blank=True)
    sha384 = models.CharField(max_length=96, blank=True)
    container_size = models.PositiveBigIntegerField(null=True)
    container_sha256 = models.CharField(max_length=64, blank=True)
    container_sha384 = models.CharField(max_length=96, blank=True)
    problem = models.JSONField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["sha256"], name="component_sha256"),
            models.Index(fields=["sha384"], name="component_sha384"),
            models.Index(fields=["container_sha256"], name="component_container_sha256"),
            models.Index(fields=["container_sha384"], name="component_container_sha384"),
            models.Index(fields=["claimed_digest"], name="component_claimed"),
            models.Index(tail("sha256", 64), name="component_sha256_end"),
            models.Index(tail("sha384", 96), name="component_sha384_end"),
            models.Index(tail("container_sha256", 64), name="component_container_end"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["release", "role"], name="component_once_per_role"),
            models.CheckConstraint(
                condition=hex_or_empty("sha256", SHA256_HEX)
                & hex_or_empty("sha384", SHA384_HEX)
                & hex_or_empty("container_sha256", SHA256_HEX)
                & hex_or_empty("container_sha384", SHA384_HEX),
                name="component_digests",
            ),
            models.CheckConstraint(
                condition=Q(size__isnull=True, sha256="", sha384="")
                | (Q(size__isnull=False) & ~Q(sha256="") & ~Q(sha384="")),
                name="component_digests_together",
            ),
        ]

    def __str__(self) -> str:
        return self.role


class EmbeddedFile(AppendOnly):
    """A file that a release's container holds beside the components and that no reader can check: opaque."""

    release = models.ForeignKey(Release, models.CASCADE, related_name="embedded_files")
    container = models.CharField(max_length=300)
    path = models.TextField()
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    sha384 = models.CharField(max_length=96)
    is_elf = models.BooleanField()

    class Meta:
        ordering: ClassVar = ["pk"]
        indexes: ClassVar = [
            models.Index(fields=["sha256"], name="embedded_file_sha256"),
            models.Index(fields=["sha384"], name="embedded_file_sha384"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(sha256__regex=SHA256_HEX) & Q(sha384__regex=SHA384_HEX), name="embedded_file_digests"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.container}: {self.path}"


class LaunchConfiguration(models.Model):
    """vCPUs, CPU type, command line and the rest that a launch measurement is computed for."""

    release = models.ForeignKey(Release, models.CASCADE, related_name="launch_configurations")
    name = models.CharField(max_length=80)
    boot_mode = models.CharField(max_length=20, choices=choices(BootMode))
    vcpus = models.PositiveIntegerField()
    vcpu_type = models.CharField(max_length=40)
    guest_features = models.PositiveBigIntegerField()
    vmm = models.CharField(max_length=20)
    command_line = models.TextField(null=True, blank=True)  # noqa: DJ001 - None: nothing names it; "": it is empty
    origin = models.CharField(max_length=200)
    """Where the values come from: the published documents, completed by the recipe or by assumption."""
    not_covered = models.JSONField(default=list)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["release", "name"], name="launch_configuration_once"),
        ]

    def __str__(self) -> str:
        return self.name


class Measurement(models.Model):
    """The launch measurement of a configuration as published and as recomputed from the published files."""

    launch_configuration = models.OneToOneField(LaunchConfiguration, models.CASCADE, related_name="measurement")
    published = models.CharField(max_length=96, blank=True)
    recomputed = models.CharField(max_length=96, blank=True)
    coverage = models.JSONField(default=list)
    problem = models.JSONField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["published"], name="measurement_published"),
            models.Index(fields=["recomputed"], name="measurement_recomputed"),
            models.Index(tail("published", 96), name="measurement_published_end"),
            models.Index(tail("recomputed", 96), name="measurement_recomputed_end"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=hex_or_empty("published", SHA384_HEX) & hex_or_empty("recomputed", SHA384_HEX),
                name="measurement_hex",
            ),
        ]

    def __str__(self) -> str:
        return self.published
