package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
)

func (r *destinationResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Where backups are stored: an S3 bucket and prefix, or a directory on the daemon's host. " +
			"Each environment has a restic repository of its own below it, named after the environment.\n\n" +
			"Deleting a destination is refused while a schedule uses it, and deletes no backup.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Required: true,
				MarkdownDescription: "Name of the destination: 1 to 63 lower-case letters, digits, `.`, `_` and `-`. " +
					"Another name makes another destination (replacement).",
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
				Validators:    []validator.String{thingName{}},
			},
			"s3": schema.SingleNestedAttribute{
				Optional: true,
				MarkdownDescription: "An S3 bucket, at AWS or at any server that speaks its protocol. Exactly one of `s3` and `local` is set. " +
					"Another bucket, prefix or endpoint moves the destination: the old backups stay where they are and are no longer pruned.",
				Attributes: s3Attributes(),
			},
			"local": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: "A directory on the daemon's host, such as a mounted disk.",
				Attributes: map[string]schema.Attribute{
					"path": schema.StringAttribute{
						Required:            true,
						MarkdownDescription: "Absolute path of the directory; the daemon creates it.",
						Validators:          []validator.String{absolutePath{}},
					},
				},
			},
			"recovery_password_wo": schema.StringAttribute{
				Optional: true, WriteOnly: true, Sensitive: true,
				MarkdownDescription: "A second password on every repository here, for the day the daemon is gone: with it and stock `restic`, nothing else is needed to restore. " +
					"It is never stored in plan or state.",
				Validators: []validator.String{stringvalidator.LengthAtLeast(12)},
			},
			"recovery_password_wo_version": schema.Int64Attribute{
				Optional:            true,
				MarkdownDescription: "Raise it whenever `recovery_password_wo` changes; begins at 1.",
			},
			"bandwidth_limit": schema.Int64Attribute{
				Optional:            true,
				MarkdownDescription: "Most bytes a second that go to and from here, for all backups and restores together, averaged over some seconds. Each daemon has the limit for itself. Default: no limit.",
				Validators:          []validator.Int64{int64validator.AtLeast(0)},
			},
			"verify_writes": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "How much of what was just written is decoded again before a backup counts: `sample` (default), `full` or `off`.",
				Validators:          []validator.String{stringvalidator.OneOf("sample", "full", "off")},
			},
			"id": idAttribute("destination"),
		},
	}
}

func s3Attributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"bucket": schema.StringAttribute{
			Required:            true,
			MarkdownDescription: "Name of the bucket. It must exist.",
			Validators:          []validator.String{stringvalidator.LengthAtLeast(3)},
		},
		"region": schema.StringAttribute{
			Optional:            true,
			MarkdownDescription: "Region of the bucket, such as `eu-central-1`. Default: the daemon's own.",
		},
		"prefix": schema.StringAttribute{
			Optional:            true,
			MarkdownDescription: "Prefix of all object names, without slashes at its ends.",
			Validators:          []validator.String{bucketPrefix{}},
		},
		"endpoint": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "Address of a server that is not AWS, such as `https://s3.internal:9000`. " +
				"If a private authority signed its certificate, the operator names the authority in the daemon's `s3_ca_file`.",
			Validators: []validator.String{httpURL{}},
		},
		"force_path_style": schema.BoolAttribute{
			Optional:            true,
			MarkdownDescription: "Address the bucket in the path instead of the host name, as most servers that are not AWS need. Default `false`.",
		},
		"storage_class": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "Storage class of the packs, which hold the data, such as `STANDARD_IA` or `GLACIER_IR`; what each run reads stays in the standard class. " +
				"Classes that are not read at once (`GLACIER`, `DEEP_ARCHIVE`) are refused. Default: the standard class.",
		},
		"server_side_encryption": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "Encryption that the store adds, where it does not do so by itself or a bucket policy demands that it is asked for: " +
				"`AES256` with keys of the store, or `aws:kms` with the account's KMS key. Backups are encrypted before they leave the daemon in any case.",
			Validators: []validator.String{stringvalidator.OneOf("AES256", "aws:kms")},
		},
		"sse_kms_key_id": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "KMS key with which the store encrypts as well; implies `aws:kms`. " +
				"The daemon's credentials need `kms:GenerateDataKey` and `kms:Decrypt` for it.",
		},
		"object_lock_mode": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "Lock every object of a backup against deletion for `object_lock_days`: `GOVERNANCE`, which holders of a special right can lift, " +
				"or `COMPLIANCE`, which nobody can. The bucket must have been made with object lock. A backup stays at least as long as it is locked, whatever the retention says. " +
				"Such a bucket keeps old versions: give it a lifecycle rule that expires noncurrent versions, or its space is never freed. " +
				"Besides the usual rights the daemon needs `s3:PutObjectRetention`, `s3:GetObjectRetention` and `s3:GetBucketObjectLockConfiguration`.",
			Validators: []validator.String{stringvalidator.OneOf("GOVERNANCE", "COMPLIANCE")},
		},
		"object_lock_days": schema.Int64Attribute{
			Optional:            true,
			MarkdownDescription: "For how many days each object is locked, from 1 on. Locks of data that newer backups still need are extended as they run out.",
			Validators:          []validator.Int64{int64validator.Between(1, 36500)},
		},
		"role_arn": schema.StringAttribute{
			Optional:            true,
			MarkdownDescription: "Role that the daemon assumes to reach the bucket.",
		},
		"access_key_id": schema.StringAttribute{
			Optional:            true,
			MarkdownDescription: "Access key. Without it the daemon's own AWS credentials are used (environment, profile, instance role).",
		},
		"secret_access_key_wo": schema.StringAttribute{
			Optional: true, WriteOnly: true, Sensitive: true,
			MarkdownDescription: "Secret of `access_key_id`. It is never stored in plan or state; the daemon keeps it sealed.",
		},
		"secret_access_key_wo_version": schema.Int64Attribute{
			Optional:            true,
			MarkdownDescription: "Raise it whenever `secret_access_key_wo` changes; begins at 1.",
		},
	}
}
